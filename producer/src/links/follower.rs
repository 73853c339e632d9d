#![expect(clippy::disallowed_methods, reason = "when a snapshot is due is measured here")]
//! From the topic of links to memory, and from memory to a snapshot on this host's disk.
//!
//! Every start reads the topic from its beginning and applies links by version. The table is loaded
//! once it holds the topic to where it ended at the start; until then a snapshot serves.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::SchemaLookup;
use schemas::{LINK_BYTES_MAX, LinkDecoder, RawLink, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::kafka::endpoint::Endpoint;
use crate::kafka::link_consumer::{LinkConsumer, TopicRecord};
use crate::links::link::Link;
use crate::links::link_table::{Applied, LinkTable};
use crate::links::snapshot;
use crate::links::topic_reports::{Reports, TopicReports};
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;
use service::number::gauge;
use service::worker::{Problem, Worker};

/// Longest wait without a check of the stop token.
const TICK: Duration = Duration::from_millis(100);
/// Limit of one request to the broker at the start.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait before the topic is read again after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Between two reports to the publisher: a link is published for a superseded version once in that time
/// at most.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time between two log lines of records that are no links.
const REFUSED_LOG_EVERY: Duration = Duration::from_secs(1);
/// Decoders that are kept at once; beyond that, all are made again.
const DECODERS_MAX: usize = 100;
/// Code and stage of following the topic.
const FOLLOW: &str = "links_follow";
/// Time between two snapshots, where links change.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

/// What the follower needs.
#[derive(Debug)]
pub struct FollowerParts {
    /// The topic.
    pub endpoint: Endpoint,
    /// The table that it fills.
    pub links: Arc<LinkTable>,
    /// The file of the snapshot.
    pub snapshot: PathBuf,
    /// Where this host has a store: what is compared with it.
    pub reports: Option<Arc<TopicReports>>,
    /// For requests to the registry.
    pub runtime: Handle,
    /// Its metrics.
    pub metrics: Metrics,
    /// The current problem, for the health probe.
    pub problem: Problem,
    /// Ends the follower.
    pub stop: CancellationToken,
}

/// The running follower.
#[derive(Debug)]
pub struct Follower {
    reader: Worker,
    snapshot_writer: Worker,
}

impl Follower {
    /// Starts it, on two threads of its own: one reads, one writes snapshots.
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

    /// Its threads; the last snapshot is written when they are stopped.
    pub fn into_workers(self) -> [Worker; 2] {
        [self.reader, self.snapshot_writer]
    }
}

struct TopicReader {
    parts: FollowerParts,
    /// Whether records are new: the topic has been read to where it ended at the start.
    live: bool,
    /// What is to be reported.
    reports: Reports,
    reported: Instant,
    schemas: SchemaLookup,
    /// `None` where the schema does not parse.
    decoders: HashMap<SchemaId, Option<LinkDecoder>>,
    /// When a record that is no link was logged; each is counted.
    logged: Option<Instant>,
}

impl TopicReader {
    fn new(parts: FollowerParts) -> Self {
        Self {
            schemas: SchemaLookup::new(
                parts.endpoint.registry.clone(),
                parts.endpoint.topic.subject(),
            ),
            parts,
            live: false,
            reports: Reports::default(),
            reported: Instant::now(),
            decoders: HashMap::new(),
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

    /// Logs what keeps the topic from being followed: when it begins, and once a minute.
    fn log_problem(&self, cause: &str) {
        let topic = self.parts.endpoint.topic.as_str();
        let due = self.parts.metrics.attempts.failed(FOLLOW, topic, FOLLOW);
        if self.parts.problem.is_new(cause.to_owned()) || due {
            tracing::error!(code = FOLLOW, cause, topic, "cannot follow the topic of links");
        }
    }

    /// Reads until the stop.
    fn follow(&mut self) -> Result<(), String> {
        if self.parts.stop.is_cancelled() {
            return Ok(());
        }
        let began = Instant::now();
        let mut reader = LinkConsumer::open(&self.parts.endpoint, REQUEST_TIMEOUT)?;
        while !self.parts.stop.is_cancelled() {
            self.live = reader.is_caught_up();
            let unreadable = reader.next(TICK, |record| self.take(record))?;
            (0..unreadable).for_each(|_| self.refuse("its batch cannot be read"));
            if reader.is_caught_up() {
                self.parts.problem.set(None);
                self.report();
                self.parts.metrics.attempts.all_ended(FOLLOW);
                if !self.parts.links.is_loaded() {
                    self.parts.links.set_loaded();
                    self.parts.metrics.links.loaded.set(1);
                    let (links, ms) = (self.parts.links.count(), began.elapsed().as_millis());
                    let topic = &self.parts.endpoint.topic;
                    tracing::info!(links, ms, %topic, "all links have been read");
                }
            }
        }
        Ok(())
    }

    /// Passes on what there is to compare, once all of the topic has been read. Records of before are
    /// reported with the first ones of after.
    fn report(&mut self) {
        let Some(reports) = &self.parts.reports else { return };
        if !self.reports.is_empty() && (!self.live || self.reported.elapsed() >= REPORT_EVERY) {
            reports.pass(&mut self.reports);
            self.reported = Instant::now();
        }
    }

    fn take(&mut self, record: TopicRecord<'_>) -> Result<(), String> {
        let TopicRecord { key, value } = record;
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let (id, datum) = match value.map(unframe) {
            _ if bytes > LINK_BYTES_MAX => {
                self.refuse(&format!("it has {bytes} bytes, more than a link"));
                return Ok(());
            }
            None => {
                self.refuse("it has no value");
                return Ok(());
            }
            Some(Err(error)) => {
                self.refuse(&error.to_string());
                return Ok(());
            }
            Some(Ok(framed)) => framed,
        };
        let decoded = match self.decoder(id)? {
            Some(decoder) => decoder.decode(datum).map_err(|error| error.to_string()),
            None => Err(format!("the topic's subject has no schema {id} of a link")),
        };
        match decoded {
            Ok(raw) if key != Some(raw.id.as_bytes()) => {
                self.refuse("its key is not the link's id");
            }
            Ok(raw) => self.apply(&raw),
            Err(cause) => self.refuse(&cause),
        }
        Ok(())
    }

    /// Applies a link to the table, and notes what this host's store has to be compared with.
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

    /// Logs a link whose slug is another one's but for case, at most one in a second.
    fn report_collision(&mut self, link: &Link) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_EVERY) {
            self.logged = Some(Instant::now());
            let what =
                "slugs of two links differ in case alone: only their exact spellings are found";
            tracing::error!(code = "link_case", id = link.id(), slug = link.slug(), "{what}");
        }
    }

    /// Counts a record that is no link, and logs it, at most one in a second.
    fn refuse(&mut self, cause: &str) {
        self.parts.metrics.links.record("refused");
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_EVERY) {
            self.logged = Some(Instant::now());
            let what = "the topic of links holds a record that is not a link";
            tracing::error!(code = "link_record", cause, "{what}");
        }
    }

    /// The decoder of a schema; `None` where there is none. Waits while the registry does not answer.
    ///
    /// # Errors
    /// The process ends.
    fn decoder(&mut self, id: SchemaId) -> Result<Option<&LinkDecoder>, String> {
        while !self.decoders.contains_key(&id) {
            let (schemas, stop) = (&mut self.schemas, &self.parts.stop);
            let asked = stop.run_until_cancelled(schemas.schema(id));
            match self.parts.runtime.block_on(asked) {
                None => return Err("the process ends".to_owned()),
                Some(Ok(None)) => return Ok(None),
                Some(Ok(Some(schema))) => {
                    if self.decoders.len() >= DECODERS_MAX {
                        self.decoders.clear();
                    }
                    self.decoders.insert(id, LinkDecoder::new(&schema).ok());
                }
                Some(Err(error)) => {
                    self.log_problem(&error.to_string());
                    let until = Instant::now() + RETRY_PAUSE;
                    while !self.parts.stop.is_cancelled() && Instant::now() < until {
                        std::thread::sleep(TICK);
                    }
                }
            }
        }
        Ok(self.decoders.get(&id).and_then(Option::as_ref))
    }
}

/// Writes a snapshot when the table is loaded, periodically while links change, and at the end.
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
            // A table that is not loaded would make the next start forget links.
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
