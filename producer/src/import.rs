#![expect(clippy::disallowed_methods, reason = "the rate and the time taken are read here")]
//! The importer: reads access logs line by line in bounded memory, and delivers their clicks.
//!
//! The clicks go through an outbox of the importer, which waits while that outbox is full. The report
//! counts each line as a click or as malformed, and each click as withheld, delivered, waiting in the
//! outbox, or undelivered. A file that cannot be read to its end is reported, and the next one is read.

pub mod access_log_file;
pub mod access_log_line;
pub mod client_fields;
pub mod combined_format;
pub mod event_id;
pub mod file_kind;
pub mod gzip_members;
pub mod import_keys;
pub mod imported_click;
pub mod line_prefix;
pub mod nginx_json_format;
pub mod progress_bar;
pub mod request_target;
pub mod site_hosts;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker::ServerError;
use schemas::{EventId, NEWEST};
use tokio_util::sync::CancellationToken;

use crate::click::ClientIp;
use crate::client::policy::{self, ClientContext};
use crate::client::proxies::Proxies;
use crate::client::stripped_texts::StrippedTexts;
use crate::clock::now;
use crate::config::{ImportArgs, ImportFormat};
use crate::delivery::Delivery;
use crate::exit::Failure;
use crate::import::access_log_file::{AccessLogFile, LineRead};
use crate::import::access_log_line::{AccessLogLine, MalformedLine};
use crate::import::event_id::ImportedEventIds;
use crate::import::import_keys::ImportKeys;
use crate::import::imported_click::{imported_click, set_inner_host};
use crate::import::progress_bar::ProgressBar;
use crate::import::site_hosts::SiteHosts;
use crate::links::link::Link;
use crate::links::link_file;
use crate::links::link_table::LinkTable;
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;
use crate::outbox::offer::{Loss, Offered};
use crate::outbox::outbox_settings::DropPolicy;

/// Most malformed lines to print; further ones are only counted.
pub const MALFORMED_PRINTED_MAX: u64 = 20;
/// Most characters of a malformed line to print.
const PRINTED_CHARS_MAX: usize = 160;

/// Lines and clicks so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportCounts {
    /// Lines that were read.
    pub lines: u64,
    /// Lines that became clicks.
    pub clicks: u64,
    /// Clicks that a privacy policy withholds.
    pub withheld: u64,
    /// Lines that are malformed.
    pub malformed: u64,
    /// Clicks whose line has no client address: they have no country and no visitor id.
    pub without_client: u64,
    /// Clicks without a host, in the line or by `--domain`: none of them can be `internal`.
    pub without_host: u64,
    /// Clicks without a user agent: they have no browser, device and visitor id.
    pub without_agent: u64,
    /// Files that could not be read to their end.
    pub unread_files: u64,
}

impl ImportCounts {
    /// Counts a click, and the fields that its line lacks.
    fn add_click(&mut self, line: &AccessLogLine<'_>, main_host: Option<&str>) {
        self.clicks += 1;
        self.without_client += u64::from(line.client_ip.is_none());
        self.without_host += u64::from(line.domain.is_none() && main_host.is_none());
        self.without_agent += u64::from(line.user_agent.is_none());
    }
}

/// The result of an import.
#[derive(Debug)]
pub struct ImportReport {
    /// Counts of lines, clicks and files.
    pub counts: ImportCounts,
    /// Clicks of this import that the broker has.
    pub delivered: u64,
    /// Clicks that stay in the outbox for the next start.
    pub waiting: u64,
    /// Clicks that were lost.
    pub undelivered: u64,
    /// Time that the import took.
    pub elapsed: Duration,
    /// Whether the import was stopped before the end of the files.
    pub is_stopped: bool,
}

/// Reads access logs and delivers their clicks.
pub struct Importer {
    args: ImportArgs,
    proxies: Proxies,
    hosts: SiteHosts,
    links: LinkTable,
    keys: ImportKeys,
    delivery: Delivery,
    metrics: Metrics,
    stopped: CancellationToken,
    started: Instant,
    progress: ProgressBar,
    counts: ImportCounts,
    datum: Vec<u8>,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Importer {
    /// Opens files, links, outbox and servers, so that faults are reported before the first line is read.
    /// `None` if `stopped` is cancelled first. If some of several files cannot be opened, the import starts.
    ///
    /// # Errors
    /// The import cannot start.
    pub async fn open(
        args: ImportArgs,
        stopped: CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        let slug_case = args.slugs.slug_case;
        let links = args.links.as_deref().map(|file| {
            link_file::read(file, |text, name| LinkTable::parse_with(slug_case, text, name))
        });
        let links = links.transpose()?.unwrap_or_default();
        check_files(&args.files).map_err(Failure::configuration)?;
        let metrics = Metrics::default();
        let delivery = Delivery::open(&args.kafka, "import", DropPolicy::Newest, &metrics)?;
        let endpoint = args.kafka.endpoint(&args.kafka.topic).map_err(Failure::configuration)?;
        let (subject, wait) = (endpoint.topic.subject(), args.kafka.start_wait());
        let schema = endpoint.registry.lookup_within(&subject, NEWEST, wait);
        tokio::select! {
            found = schema => {
                found.map_err(server_failure)?;
            }
            () = stopped.cancelled() => return Ok(None),
        }
        let checked = tokio::task::spawn_blocking(move || {
            let topic = delivery.check_topic(wait);
            (delivery, topic)
        });
        let (mut delivery, topic) = checked.await.map_err(Failure::invariant)?;
        topic.map_err(server_failure)?;
        delivery.start()?;
        let (outbox, store) = (&args.kafka.outbox, &args.store.links_db);
        let store = args.privacy.key_store(outbox, store).map_err(Failure::of_chain)?;
        let keys = ImportKeys::new(&metrics, store);
        let keys = keys.map_err(Failure::invariant)?;
        Ok(Some(Self {
            progress: ProgressBar::new(&args.files),
            proxies: args.proxies.proxies(),
            hosts: SiteHosts::new(args.domain.clone()),
            args,
            links,
            keys,
            delivery,
            metrics,
            stopped,
            started: Instant::now(),
            counts: ImportCounts::default(),
            datum: Vec::new(),
        }))
    }

    /// Reads the files and delivers their clicks. Blocks.
    pub fn run(mut self) -> ImportReport {
        let files = std::mem::take(&mut self.args.files);
        for file in &files {
            if self.stopped.is_cancelled() {
                break;
            }
            if let Err(error) = self.read_file(file) {
                self.counts.unread_files += 1;
                self.progress.print(&format!("{error:#}"));
            }
            self.progress.finish_file(file);
        }
        let waiting = self.deliver(self.args.kafka.flush_wait());
        self.progress.clear();
        // The clicks of an earlier run were delivered first.
        let earlier = self.delivery.outbox.recovered().clicks;
        ImportReport {
            counts: self.counts,
            delivered: self.metrics.clicks_delivered.get().saturating_sub(earlier),
            waiting,
            undelivered: self.metrics.undelivered(),
            elapsed: self.started.elapsed(),
            is_stopped: self.stopped.is_cancelled(),
        }
    }

    fn read_file(&mut self, file: &Path) -> anyhow::Result<()> {
        let parse = match self.args.format {
            ImportFormat::Combined => combined_format::parse,
            ImportFormat::NginxJson => nginx_json_format::parse,
        };
        let name = file.display().to_string();
        let mut log = AccessLogFile::open(file)?;
        let mut ids = ImportedEventIds::new(&self.args.source);
        let mut number = 0_u64;
        while !self.stopped.is_cancelled() {
            let bytes =
                match log.read_line().with_context(|| format!("{name}: line {}", number + 1))? {
                    LineRead::End => break,
                    LineRead::TooLong => None,
                    LineRead::Line(bytes) => Some(bytes),
                };
            number += 1;
            self.counts.lines += 1;
            let text = bytes.map(String::from_utf8_lossy).unwrap_or_default();
            let line = match bytes {
                Some(_) => parse(&text, now(), &self.proxies),
                None => Err(MalformedLine::TooLong),
            };
            match line {
                Ok(line) => {
                    let id = ids.next(bytes.unwrap_or_default(), line.occurred_at);
                    self.offer(id, &line);
                }
                Err(why) => self.count_malformed(&name, number, why, &text),
            }
            self.progress.update(log.position(), self.counts.lines, self.counts.malformed);
        }
        Ok(())
    }

    /// Offers the click of a line to the outbox, and waits for it to accept the click.
    fn offer(&mut self, id: EventId, line: &AccessLogLine<'_>) {
        let main_host = self.hosts.main();
        self.counts.add_click(line, main_host);
        self.metrics.import_lines.get_or_create(&ResultLabel { result: "click" }).inc();
        let client_ip = line.client_ip.map(ClientIp::new);
        let link = self.links.named(line.domain.as_deref().or(main_host), &line.slug);
        let texts = StrippedTexts::default();
        let client = ClientContext {
            ip: client_ip.as_ref(),
            link_opts_out: link.as_ref().is_some_and(Link::opts_out),
            stripped: &texts,
        };
        let mut click = imported_click(id, &self.args.source, line, link.as_ref(), main_host);
        let (policies, key) = (self.args.privacy.privacy(), |day| self.keys.key(day));
        if !policy::apply(policies, &mut click, client, key, &self.metrics) {
            self.counts.withheld += 1;
            return;
        }
        set_inner_host(&mut click, line, &self.hosts);
        self.metrics.clicks_offered.inc();
        self.datum.clear();
        match click.write_datum(&mut self.datum) {
            Ok(()) => {
                let go_on = || !self.stopped.is_cancelled();
                // The outbox counts a loss, which the report shows.
                let _counted: Offered = self.delivery.outbox.offer_waiting(&self.datum, go_on);
            }
            Err(error) => {
                self.metrics.lost(Loss::Encode);
                tracing::error!(code = Loss::Encode.code(), %error, "cannot encode a click");
            }
        }
        if let Some(rate) = self.args.rate {
            self.limit_rate(f64::from(rate));
        }
    }

    /// Sleeps until `rate` per second allows the clicks so far.
    fn limit_rate(&self, rate: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
        let due = Duration::from_secs_f64(self.counts.clicks as f64 / rate);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
    }

    fn count_malformed(&mut self, file: &str, line: u64, why: MalformedLine, text: &str) {
        self.counts.malformed += 1;
        self.metrics.import_lines.get_or_create(&ResultLabel { result: why.code() }).inc();
        if self.counts.malformed <= MALFORMED_PRINTED_MAX {
            self.progress.print(&format!("{file}:{line}: {why}: {}", printable(text)));
        }
    }

    /// Waits while clicks are being delivered, until none was for `timeout`. Returns how many still wait.
    fn deliver(&mut self, timeout: Duration) -> u64 {
        let delivered = self.metrics.clicks_delivered.clone();
        let (mut last, mut since) = (delivered.get(), Instant::now());
        let (was_stopped, stopped) = (self.stopped.is_cancelled(), self.stopped.clone());
        self.delivery.finish(|| {
            if delivered.get() != last {
                (last, since) = (delivered.get(), Instant::now());
            }
            // A signal during the wait ends it at once.
            let stopped_now = stopped.is_cancelled() && !was_stopped;
            !stopped_now && since.elapsed() <= timeout
        })
    }
}

/// Checks the starts of the files.
///
/// # Errors
/// None of them can be read; the error is that of the first one.
fn check_files(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut checks = files.iter().map(|file| AccessLogFile::check(file));
    match checks.next() {
        Some(Err(error)) if checks.all(|check| check.is_err()) => Err(error),
        Some(_) | None => Ok(()),
    }
}

fn server_failure(error: ServerError) -> Failure {
    if error.is_retryable() { Failure::unavailable(error) } else { Failure::configuration(error) }
}

/// The start of a line, without the control characters, which a terminal would execute.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for letter in text.chars().take(PRINTED_CHARS_MAX) {
        if letter.is_control() {
            printable.extend(letter.escape_default());
        } else {
            printable.push(letter);
        }
    }
    if text.chars().nth(PRINTED_CHARS_MAX).is_some() {
        printable.push('…');
    }
    printable
}
