#![expect(clippy::disallowed_methods, reason = "when a snapshot is due is measured here")]
//! The follower reads the topic of links into memory, and writes snapshots of it to the disk of this host.
//!
//! Each start reads the topic from its beginning, and applies links by version. The table is loaded once
//! it holds the topic up to the end that it had at the start; until then visitors are answered by the
//! snapshot.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{SchemaAnswer, SchemaLookup, SchemaRefusal, ServerError};
use schemas::{LINK_BYTES_MAX, LinkDecoder, RawLink, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::kafka::endpoint::Endpoint;
use crate::kafka::link_consumer::{LinkConsumer, TopicRecord};
use crate::links::link::Link;
use crate::links::link_table::{Applied, LinkTable};
use crate::links::open_records::OpenRecords;
use crate::links::snapshot;
use crate::links::topic_reports::{Reports, TopicReports};
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;
use service::number::gauge;
use service::worker::{Problem, Worker};

/// Longest time without a check of the stop token.
const TICK: Duration = Duration::from_millis(100);
/// Time limit of one request to the broker at the start.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait before the topic is read again after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Time between two reports to the publisher. A superseded version makes the publisher publish a link at
/// most once in this time.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time between two log lines about records that are no links.
const REFUSED_LOG_EVERY: Duration = Duration::from_secs(1);
/// Longest wait of the reader for an answer of the registry, which mostly takes milliseconds.
const ASK_MAX: Duration = Duration::from_secs(1);
/// Pause before the reader waits again, as a multiple of the last wait.
const ASK_PAUSE: u32 = 10;
/// Time from an answer of the registry to the next request.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the reader waits when the queue of records with unknown schema ids is full, and the time from
/// one such wait to the next.
const FULL_WAIT: Duration = Duration::from_secs(5);
const FULL_EVERY: Duration = Duration::from_secs(60);
/// Most decoders in memory; for one more, all are dropped.
const DECODERS_MAX: usize = 100;
/// Name of the stage that follows the topic, and code of its failure.
const FOLLOW: &str = "links_follow";
/// Time between two snapshots while links change.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

/// The parts of the follower.
#[derive(Debug)]
pub struct FollowerParts {
    /// The topic.
    pub endpoint: Endpoint,
    /// The table to fill.
    pub links: Arc<LinkTable>,
    /// The file of the snapshot.
    pub snapshot: PathBuf,
    /// Reports for the publisher, if this host has a store.
    pub reports: Option<Arc<TopicReports>>,
    /// The runtime for requests to the registry.
    pub runtime: Handle,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The current problem, for the health probe.
    pub problem: Problem,
    /// Stops the follower.
    pub stop: CancellationToken,
}

/// The running follower.
#[derive(Debug)]
pub struct Follower {
    reader: Worker,
    snapshot_writer: Worker,
}

impl Follower {
    /// Starts the follower on two threads: one reads the topic, the other writes snapshots.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(parts: FollowerParts) -> std::io::Result<Self> {
        let stop = parts.stop.clone();
        let snapshot_writer = SnapshotWriter {
            links: Arc::clone(&parts.links),
            path: parts.snapshot.clone(),
            metrics: parts.metrics.clone(),
            stop: stop.clone(),
        };
        let snapshot_writer =
            Worker::start("link-snapshots", stop.clone(), None, move || snapshot_writer.run())?;
        let reader =
            Worker::start("link-follower", stop, None, move || TopicReader::new(parts).run())?;
        Ok(Self { reader, snapshot_writer })
    }

    /// Its threads. They write the last snapshot when they stop.
    pub fn into_workers(self) -> [Worker; 2] {
        [self.reader, self.snapshot_writer]
    }
}

struct TopicReader {
    parts: FollowerParts,
    /// Whether the topic is read up to its end at the start, so that further records are new.
    live: bool,
    /// Reports that are not passed on yet.
    reports: Reports,
    reported: Instant,
    /// `None` while a task asks the registry.
    schemas: Option<SchemaLookup>,
    /// The task that asks the registry; at most one.
    asking: JoinSet<Asked>,
    /// `None` for a schema that does not parse.
    decoders: HashMap<SchemaId, Option<LinkDecoder>>,
    open: OpenRecords,
    /// Whether the registry did not answer the last request.
    is_failing: bool,
    /// When to ask the registry again.
    ask_at: Option<Instant>,
    /// When the reader may wait for an answer again.
    wait_at: Option<Instant>,
    /// When the reader last began to wait because the queue was full.
    full_at: Option<Instant>,
    /// Time of the last log line about a record that is no link; the metric counts each one.
    logged: Option<Instant>,
}

/// The answer of the registry, and the lookup that asked.
type Asked = (SchemaLookup, Result<BTreeMap<SchemaId, SchemaAnswer>, ServerError>);

fn lookup(endpoint: &Endpoint) -> SchemaLookup {
    SchemaLookup::new(endpoint.registry.clone(), endpoint.topic.subject())
}

impl TopicReader {
    fn new(parts: FollowerParts) -> Self {
        Self {
            schemas: Some(lookup(&parts.endpoint)),
            asking: JoinSet::new(),
            parts,
            live: false,
            reports: Reports::default(),
            reported: Instant::now(),
            decoders: HashMap::new(),
            open: OpenRecords::default(),
            is_failing: false,
            ask_at: None,
            wait_at: None,
            full_at: None,
            logged: None,
        }
    }

    fn run(mut self) {
        while let Err(cause) = self.follow() {
            self.parts.metrics.links.failed(FOLLOW);
            self.log_problem(&cause);
            let until = Instant::now() + RETRY_PAUSE;
            while !self.parts.stop.is_cancelled() && Instant::now() < until {
                std::thread::sleep(TICK);
            }
        }
    }

    /// Logs why the topic cannot be followed: at the first failure, and then once a minute.
    fn log_problem(&self, cause: &str) {
        let topic = self.parts.endpoint.topic.as_str();
        let due = self.parts.metrics.attempts.failed(FOLLOW, topic, FOLLOW);
        if self.parts.problem.is_new(cause.to_owned()) || due {
            tracing::error!(code = FOLLOW, cause, topic, "cannot follow the topic of links");
        }
    }

    /// Reads the topic until the stop.
    fn follow(&mut self) -> Result<(), String> {
        if self.parts.stop.is_cancelled() {
            return Ok(());
        }
        let began = Instant::now();
        let mut reader = LinkConsumer::open(&self.parts.endpoint, REQUEST_TIMEOUT)?;
        // The follower reads all records again.
        (self.open, self.is_failing) = (OpenRecords::default(), false);
        let mut read_before = None;
        while !self.parts.stop.is_cancelled() {
            self.live = reader.is_caught_up();
            let unreadable = reader.next(TICK, |record| {
                self.take(record);
                Ok(())
            })?;
            self.settle();
            (0..unreadable).for_each(|_| self.refuse("its batch cannot be read"));
            if reader.is_caught_up() {
                if !self.is_failing {
                    self.parts.problem.set(None);
                    self.parts.metrics.attempts.all_ended(FOLLOW);
                }
                self.report();
                // Only waiting records from before the end at the start delay loading.
                let read_before = *read_before.get_or_insert(self.open.pushed());
                if !self.parts.links.is_loaded() && !self.open.has_one_of(read_before) {
                    self.parts.links.set_loaded();
                    self.parts.metrics.links.loaded.set(1);
                    let (links, ms) = (self.parts.links.count(), began.elapsed().as_millis());
                    let topic = &self.parts.endpoint.topic;
                    tracing::info!(links, ms, %topic, "all links are loaded");
                }
            }
        }
        Ok(())
    }

    /// Passes on the reports for the publisher: after the start at most once a second.
    fn report(&mut self) {
        let Some(reports) = &self.parts.reports else { return };
        if !self.reports.is_empty() && (!self.live || self.reported.elapsed() >= REPORT_EVERY) {
            reports.pass(&mut self.reports);
            self.reported = Instant::now();
        }
    }

    /// Applies a record, refuses it, or queues it while its schema is not known.
    fn take(&mut self, record: TopicRecord<'_>) {
        let TopicRecord { key, value } = record;
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if bytes > LINK_BYTES_MAX {
            self.refuse(&format!("it has {bytes} bytes, more than a link may have"));
            return;
        }
        let Some(value) = value else {
            self.refuse("it has no value");
            return;
        };
        match unframe(value) {
            Err(error) => self.refuse(&error.to_string()),
            Ok((id, _)) if self.decoders.contains_key(&id) => self.decode(id, key, value),
            Ok((id, _)) => {
                self.make_room();
                self.open.push(id, key, value, Instant::now());
                self.settle();
            }
        }
    }

    /// Applies a record whose schema lookup has ended, or refuses it.
    fn decode(&mut self, id: SchemaId, key: Option<&[u8]>, value: &[u8]) {
        let Ok((_, datum)) = unframe(value) else { return };
        let decoded = match self.decoders.get(&id).and_then(Option::as_ref) {
            Some(decoder) => decoder.decode(datum).map_err(|error| error.to_string()),
            None => Err(format!("schema {id} does not parse")),
        };
        match decoded {
            Ok(raw) if key != Some(raw.id.as_bytes()) => {
                self.refuse("its key is not the link's id");
            }
            Ok(raw) => self.apply(&raw),
            Err(cause) => self.refuse(&cause),
        }
    }

    /// Applies a link to the table, and notes it for the comparison with this host's store.
    fn apply(&mut self, raw: &RawLink<'_>) {
        if let Err(error) = raw.check() {
            self.refuse(&format!("link {:?}: {error}", raw.id));
            return;
        }
        let Some(link) = Link::new(raw) else {
            self.refuse(&format!("a text of link {:?} is too long", raw.id));
            return;
        };
        let links = &self.parts.links;
        let applied = match &self.parts.reports {
            Some(_) => self.reports.apply(links, &link, self.live),
            None => links.apply(link.clone()),
        };
        let result = match applied {
            Applied::Newer if links.collides(&link) => {
                self.report_collision(&link);
                "collides"
            }
            Applied::Newer => "newer",
            Applied::Same => "same",
            Applied::Older => "older",
            Applied::Differs => "differs",
        };
        self.parts.metrics.links.record(result);
        self.parts.metrics.links_in_memory.set(gauge(self.parts.links.count()));
    }

    /// Logs a link whose slug differs from another one only in case, at most once a second.
    fn report_collision(&mut self, link: &Link) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_EVERY) {
            self.logged = Some(Instant::now());
            let what =
                "the slugs of two links differ only in case: only their exact spellings are found";
            tracing::error!(code = "link_case", id = link.id(), slug = link.slug(), "{what}");
        }
    }

    /// Counts a record that is no link, and logs it, at most once a second.
    fn refuse(&mut self, cause: &str) {
        self.parts.metrics.links.record("refused");
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_EVERY) {
            self.logged = Some(Instant::now());
            let what = "the topic of links holds a record that is not a link";
            tracing::error!(code = "link_record", cause, "{what}");
        }
    }

    /// Makes room in the queue for a record whose schema is not known. Waits for [`FULL_WAIT`] of each
    /// minute, and then refuses the first waiting record, but none before the registry was asked for its
    /// schema.
    fn make_room(&mut self) {
        while self.open.is_full() && !self.parts.stop.is_cancelled() {
            self.settle();
            let now = Instant::now();
            let full_at = match self.full_at {
                Some(at) if now < at + FULL_EVERY => at,
                Some(_) | None => *self.full_at.insert(now),
            };
            if now < full_at + FULL_WAIT || !self.open.is_first_asked() {
                std::thread::sleep(ASK_EVERY);
            } else if let Some(record) = self.open.take_first() {
                self.refuse_schema(record.id);
            }
        }
    }

    /// Applies or refuses waiting records for which the registry has answered, and asks it for the others.
    /// Waits for an answer for at most [`ASK_MAX`] and a tenth of the time; a later answer is read between
    /// two records.
    fn settle(&mut self) {
        if let Some(asked) = self.asking.try_join_next() {
            self.asked(asked);
        }
        self.start_ask();
        let began = Instant::now();
        if self.asking.is_empty() || self.wait_at.is_some_and(|at| began < at) {
            return;
        }
        let (asking, stop) = (&mut self.asking, &self.parts.stop);
        let wait = async { tokio::time::timeout(ASK_MAX, asking.join_next()).await };
        let asked = self.parts.runtime.block_on(stop.run_until_cancelled(wait));
        let ended = Instant::now();
        self.wait_at = Some(ended + (ended - began) * ASK_PAUSE);
        if let Some(Ok(Some(asked))) = asked {
            self.asked(asked);
        }
    }

    fn start_ask(&mut self) {
        let is_due = self.ask_at.is_none_or(|at| at <= Instant::now());
        if self.open.is_empty() || !is_due {
            return;
        }
        let Some(mut schemas) = self.schemas.take() else { return };
        let ids = self.open.ids();
        let ask = async move {
            let answers = schemas.answers(&ids).await;
            (schemas, answers)
        };
        self.asking.spawn_on(ask, &self.parts.runtime);
    }

    fn asked(&mut self, asked: Result<Asked, JoinError>) {
        let now = Instant::now();
        self.ask_at = Some(now + ASK_EVERY);
        let answers = match asked {
            Ok((schemas, answers)) => {
                self.schemas = Some(schemas);
                answers.map_err(|error| error.to_string())
            }
            Err(panicked) => {
                self.schemas = Some(lookup(&self.parts.endpoint));
                Err(panicked.to_string())
            }
        };
        match answers {
            Ok(answers) => {
                self.is_failing = false;
                self.decide(answers, now);
            }
            Err(cause) => self.ask_failed(&cause, now),
        }
    }

    fn ask_failed(&mut self, cause: &str, now: Instant) {
        // The request is of a reader that ended; nothing would end this failure.
        if self.open.is_empty() {
            return;
        }
        self.is_failing = true;
        self.open.restart(now);
        self.log_problem(cause);
    }

    fn decide(&mut self, answers: BTreeMap<SchemaId, SchemaAnswer>, now: Instant) {
        let (mut refused, mut open) = (BTreeSet::new(), BTreeSet::new());
        let mut failed = BTreeMap::new();
        for (id, answer) in answers {
            match answer {
                SchemaAnswer::Schema(text) => {
                    if self.decoders.len() >= DECODERS_MAX {
                        self.decoders.clear();
                    }
                    self.decoders.insert(id, LinkDecoder::new(&text).ok());
                }
                SchemaAnswer::Refused(_) => drop(refused.insert(id)),
                SchemaAnswer::Open => drop(open.insert(id)),
                SchemaAnswer::Failed(error) => drop(failed.insert(id, error)),
            }
        }
        if let Some(error) = failed.values().next() {
            self.is_failing = true;
            self.log_problem(&error.to_string());
        }
        for mut record in self.open.take() {
            if self.decoders.contains_key(&record.id) {
                self.decode(record.id, record.key.as_deref(), &record.value);
                continue;
            }
            if open.contains(&record.id) {
                record.note_answer(now);
            }
            if failed.contains_key(&record.id) {
                record.restart(now);
            }
            let is_overdue = record.is_asked && record.is_overdue(now);
            if is_overdue || refused.contains(&record.id) {
                self.refuse_schema(record.id);
            } else {
                self.open.keep(record);
            }
        }
    }

    fn refuse_schema(&mut self, id: SchemaId) {
        if let Some(schemas) = &mut self.schemas {
            schemas.refuse(id, SchemaRefusal::Unknown);
        }
        self.refuse(&format!("the subject of the topic has no schema {id} for links"));
    }
}

/// Writes a snapshot when the table is loaded, then periodically while links change, and at the end.
struct SnapshotWriter {
    links: Arc<LinkTable>,
    path: PathBuf,
    metrics: Metrics,
    stop: CancellationToken,
}

impl SnapshotWriter {
    fn run(self) {
        let mut written: Option<(u64, Instant)> = None;
        loop {
            let ends = self.stop.is_cancelled();
            let changes = self.links.changes();
            let due = match written {
                None => true,
                Some((at, when)) => at != changes && (ends || when.elapsed() >= SNAPSHOT_EVERY),
            };
            // A snapshot of a table that is not loaded would lack links at the next start.
            if due && self.links.is_loaded() {
                let result = match snapshot::write(&self.links, &self.path) {
                    Ok(_) => "ok",
                    Err(error) => {
                        let path = self.path.display();
                        tracing::error!(code = "links_snapshot", %path, %error, "cannot write the snapshot of links");
                        "error"
                    }
                };
                self.metrics.links.snapshots.get_or_create(&ResultLabel { result }).inc();
                written = Some((changes, Instant::now()));
            }
            if ends {
                return;
            }
            std::thread::sleep(TICK);
        }
    }
}
