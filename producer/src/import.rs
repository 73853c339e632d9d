#![expect(clippy::disallowed_methods, reason = "the rate and the time taken are read here")]
//! `producer import`: access logs into the log, line by line, in bounded memory.
//!
//! Clicks go through an outbox of its own, and it waits while that is full. Every line ends as a
//! click or as malformed, every click as delivered, waiting in the outbox, or undelivered.

pub mod access_log_file;
pub mod access_log_line;
pub mod combined_format;
pub mod event_id;
pub mod nginx_json_format;
pub mod progress_bar;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker::ServerError;
use schemas::{NEWEST, datum};
use service::shutdown;
use tokio_util::sync::CancellationToken;

use crate::click::{self, ClientIp};
use crate::client::day_keys::KeyRing;
use crate::client::policy;
use crate::clock::now;
use crate::config::{ImportArgs, ImportFormat};
use crate::delivery::Delivery;
use crate::exit::{self, Exit, Failure};
use crate::import::access_log_file::{LogFile, Read, STDIN};
use crate::import::access_log_line::{Line, Malformed};
use crate::import::event_id::ImportIds;
use crate::import::progress_bar::Progress;
use crate::links::link::Link;
use crate::links::link_file;
use crate::links::link_table::LinkTable;
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;
use crate::outbox::offer::{Loss, Offered};
use crate::outbox::outbox_settings::DropPolicy;

/// Malformed lines that are shown; the others are only counted.
const SHOWN_MAX: u64 = 20;
/// Characters of a malformed line that are shown.
const SHOWN_CHARS: usize = 160;

/// Runs the import.
///
/// # Errors
/// What keeps it from starting, or a file that cannot be read.
pub async fn run(args: ImportArgs) -> Result<Exit, Failure> {
    let stopped = shutdown::on_signal().map_err(Failure::invariant)?;
    let links = args.links.as_deref().map(|file| link_file::read(file, LinkTable::parse));
    let links = links.transpose()?.unwrap_or_default();
    for file in args.files.iter().filter(|file| file.as_os_str() != STDIN) {
        LogFile::open(file).map_err(Failure::configuration)?;
    }
    let metrics = Metrics::default();
    // An import may wait, so no click is dropped.
    let delivery = Delivery::open(&args.kafka, "import", DropPolicy::Newest, &metrics)?;
    let endpoint = args.kafka.endpoint(&args.kafka.topic).map_err(Failure::configuration)?;
    // Asked now, so that a wrong registry is reported before anything is read.
    let (subject, wait) = (endpoint.topic.subject(), args.kafka.start_wait());
    let asked = endpoint.registry.lookup_within(&subject, NEWEST, wait);
    tokio::select! {
        found = asked => {
            found.map_err(server_failure)?;
        }
        () = stopped.cancelled() => return Ok(Exit::Unavailable),
    }
    let (mut delivery, topic) = blocking(move || {
        let topic = delivery.check_topic(wait);
        (delivery, topic)
    })
    .await?;
    topic.map_err(server_failure)?;
    delivery.start()?;
    let (outbox, store) = (&args.kafka.outbox, &args.store.links_db);
    let keys = args.privacy.keys(outbox, store, &metrics).map_err(Failure::configuration)?;
    let import = Import {
        links,
        keys,
        delivery,
        metrics,
        stopped,
        started: Instant::now(),
        books: Books::default(),
        record: Vec::new(),
    };
    blocking(move || import.run(&args)).await?
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(run).await.map_err(Failure::invariant)
}

fn server_failure(error: ServerError) -> Failure {
    if error.is_retryable() { Failure::unavailable(error) } else { Failure::configuration(error) }
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Books {
    lines: u64,
    clicks: u64,
    /// Clicks that a privacy policy keeps from being recorded.
    withheld: u64,
    malformed: u64,
}

struct Import {
    links: LinkTable,
    keys: KeyRing,
    delivery: Delivery,
    metrics: Metrics,
    stopped: CancellationToken,
    started: Instant,
    books: Books,
    record: Vec<u8>,
}

impl Import {
    fn run(mut self, args: &ImportArgs) -> Result<Exit, Failure> {
        let progress = Progress::over(&args.files);
        let read = args.files.iter().try_for_each(|file| self.file(file, args, &progress));
        let waiting = self.deliver(args.kafka.flush_wait());
        progress.end();
        self.report(args, waiting, read)
    }

    fn file(&mut self, file: &Path, args: &ImportArgs, progress: &Progress) -> anyhow::Result<()> {
        let parse = match args.format {
            ImportFormat::Combined => combined_format::parse,
            ImportFormat::NginxJson => nginx_json_format::parse,
        };
        let name = file.display().to_string();
        let mut log = LogFile::open(file)?;
        let mut ids = ImportIds::new(&args.source);
        let mut number = 0_u64;
        while !self.stopped.is_cancelled() {
            let bytes =
                match log.read_line().with_context(|| format!("{name}: line {}", number + 1))? {
                    Read::End => break,
                    Read::TooLong => None,
                    Read::Line(bytes) => Some(bytes),
                };
            number += 1;
            self.books.lines += 1;
            let text = bytes.map(String::from_utf8_lossy).unwrap_or_default();
            let line = match bytes {
                Some(_) => parse(&text, now()),
                None => Err(Malformed::TooLong),
            };
            match line {
                Ok(line) => {
                    let id = ids.next(bytes.unwrap_or_default(), line.occurred_at);
                    self.click(id, &line, args);
                }
                Err(why) => self.malformed((&name, number), why, &text, progress),
            }
            progress.at(log.position(), self.books.lines, self.books.malformed);
        }
        progress.done_with(file);
        Ok(())
    }

    fn click(&mut self, id: schemas::EventId, line: &Line<'_>, args: &ImportArgs) {
        self.books.clicks += 1;
        self.metrics.import_lines.get_or_create(&ResultLabel { result: "click" }).inc();
        let client_ip = line.client_ip.map(ClientIp::new);
        let link = self.links.named(line.domain.as_deref(), &line.slug);
        let mut click = click::imported(id, &args.source, line, link.as_ref());
        let shielded = (&mut click, client_ip.as_ref());
        let opted_out = link.as_ref().is_some_and(Link::opts_out);
        let key = |day| self.keys.fetch(day);
        if !policy::shield(args.privacy.privacy(), shielded, opted_out, key, &self.metrics) {
            self.books.withheld += 1;
            return;
        }
        self.metrics.clicks_offered.inc();
        self.record.clear();
        match datum::write(&click, &mut self.record) {
            Ok(()) => {
                let go_on = || !self.stopped.is_cancelled();
                // A loss is counted by the outbox, and the exit code tells.
                let _counted: Offered = self.delivery.outbox.offer_waiting(&self.record, go_on);
            }
            Err(error) => {
                self.metrics.lost(Loss::Encode);
                tracing::error!(code = Loss::Encode.code(), %error, "click cannot be written");
            }
        }
        if let Some(rate) = args.rate {
            self.pace(f64::from(rate));
        }
    }

    /// Sleeps until the clicks so far are no more than `rate` a second allows.
    fn pace(&self, rate: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a pace, not a count")]
        let due = Duration::from_secs_f64(self.books.clicks as f64 / rate);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
    }

    fn malformed(
        &mut self,
        (file, line): (&str, u64),
        why: Malformed,
        text: &str,
        progress: &Progress,
    ) {
        self.books.malformed += 1;
        self.metrics.import_lines.get_or_create(&ResultLabel { result: why.code() }).inc();
        if self.books.malformed <= SHOWN_MAX {
            progress.say(&format!("{file}:{line}: {why}: {}", shown(text)));
        }
    }

    /// Waits as long as clicks get delivered, and `patience` longer. Says how many still wait.
    fn deliver(&mut self, patience: Duration) -> u64 {
        let delivered = self.metrics.clicks_delivered.clone();
        let (mut last, mut since) = (delivered.get(), Instant::now());
        let (cut_short, stopped) = (self.stopped.is_cancelled(), self.stopped.clone());
        self.delivery.finish(|| {
            if delivered.get() != last {
                (last, since) = (delivered.get(), Instant::now());
            }
            // A request to stop that comes here ends the wait at once.
            let asked = stopped.is_cancelled() && !cut_short;
            !asked && since.elapsed() <= patience
        })
    }

    fn report(
        &self,
        args: &ImportArgs,
        waiting: u64,
        read: anyhow::Result<()>,
    ) -> Result<Exit, Failure> {
        let Books { lines, clicks, withheld, malformed } = self.books;
        if let Some(more) = malformed.checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            exit::print_error(&format!("and {more} more malformed lines"));
        }
        let undelivered = self.metrics.undelivered();
        // What an earlier run left was delivered first.
        let earlier = self.delivery.outbox.recovered().clicks;
        let delivered = self.metrics.clicks_delivered.get().saturating_sub(earlier);
        exit::print_line(&format!(
            "import: lines={lines} clicks={clicks} withheld={withheld} malformed={malformed} delivered={delivered} waiting={waiting} undelivered={undelivered} seconds={:.1}",
            self.started.elapsed().as_secs_f64(),
        ));
        read.map_err(Failure::configuration)?;
        if self.stopped.is_cancelled() {
            exit::print_error(
                "stopped before the end; importing again continues without counting twice",
            );
        }
        let unfinished = undelivered > 0 || waiting > 0 || self.stopped.is_cancelled();
        Ok(match (unfinished, malformed > 0 && args.strict) {
            (true, _) => Exit::Unavailable,
            (false, true) => Exit::Data,
            (false, false) => Exit::Done,
        })
    }
}

/// The start of a line, as a terminal may see it: a log may hold what a terminal would obey.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars().take(SHOWN_CHARS) {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
