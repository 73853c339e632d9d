//! The publisher: publishes the links in the store's queue to the topic, each in its current state, until
//! the topic has them.
//!
//! A link leaves the queue only after all replicas have it, so the publisher may be killed at any time.
//! While a link is in flight, no other host publishes it, so versions reach the topic in their order. A
//! change that the topic has superseded first gets the version after the topic's.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::links::link_entry::LinkEntry;
use crate::links::link_table::LinkTable;
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::store_check::StoreCheck;
use crate::links::store_location::StoreLocation;
use crate::links::topic_reports::TopicReports;
use crate::metrics::Metrics;
use service::number::gauge;
use service::wakeup::Wakeup;
use service::worker::{Problem, Worker};

/// Name of the stage that publishes links.
const PUBLISH: &str = "links_publish";
/// Most links to publish at once.
const BATCH: u32 = 1000;
/// Longest wait for a wakeup, and so the delay of a change by another process.
const TICK: Duration = Duration::from_millis(200);
/// Wait after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Publishes links to the topic.
pub trait Publish: Send + 'static {
    /// Returns when all replicas have all links.
    ///
    /// # Errors
    /// A text for operators; the replicas may or may not have the links.
    fn publish(&mut self, entries: &[LinkEntry]) -> Result<(), String>;
}

/// The parts of the publisher.
#[derive(Debug)]
pub struct PublisherParts<P> {
    /// The location of the store.
    pub location: StoreLocation,
    /// The topic.
    pub publisher: P,
    /// Notified of each change in this process.
    pub wakeup: Arc<Wakeup>,
    /// The links of the topic, as far as the follower has read it.
    pub table: Arc<LinkTable>,
    /// The reports of the follower.
    pub reports: Arc<TopicReports>,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The current problem, for the health probe.
    pub problem: Problem,
    /// Set while the store is behind the topic, for the health probe.
    pub behind: Problem,
    /// Stops the publisher.
    pub stop: CancellationToken,
}

/// The running publisher.
#[derive(Debug)]
pub struct LinkPublisher(Worker);

impl LinkPublisher {
    /// Starts the publisher on a thread.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start<P: Publish>(parts: PublisherParts<P>) -> std::io::Result<Self> {
        let (wakeup, stop) = (Arc::clone(&parts.wakeup), parts.stop.clone());
        let rounds = Rounds::new(parts);
        Worker::start("link-publisher", stop, Some(wakeup), move || rounds.run()).map(Self)
    }

    /// Its thread.
    pub fn into_worker(self) -> Worker {
        self.0
    }
}

/// The rounds of the publisher: each one compares the reported links, and publishes a batch.
struct Rounds<P> {
    parts: PublisherParts<P>,
    store: Option<Store>,
    check: StoreCheck,
}

impl<P: Publish> Rounds<P> {
    fn new(parts: PublisherParts<P>) -> Self {
        Self { parts, store: None, check: StoreCheck::default() }
    }

    fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while !self.parts.stop.is_cancelled() {
            match self.round() {
                Ok(goes_on) => {
                    pause = PAUSE_MIN;
                    self.parts.problem.set(None);
                    self.parts.metrics.attempts.all_ended(PUBLISH);
                    if !goes_on {
                        self.parts.wakeup.wait(TICK);
                    }
                }
                Err(error) => {
                    // After a failure the connection is not used again.
                    self.store = None;
                    let (code, cause) = (error.code(), error.to_string());
                    self.parts.metrics.links.failed(code);
                    let due = self.parts.metrics.attempts.failed(PUBLISH, "", code);
                    if self.parts.problem.is_new(format!("{code}: {cause}")) || due {
                        tracing::error!(
                            code,
                            cause,
                            "cannot publish changes of links: they wait in the link store"
                        );
                    }
                    self.parts.wakeup.wait(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Runs one round; returns whether the next one has work at once.
    fn round(&mut self) -> Result<bool, StoreError> {
        let Self { parts, store, check } = self;
        let store = match store {
            Some(store) => store,
            None => {
                check.restart();
                store.insert(Store::open(&parts.location)?)
            }
        };
        let reports = parts.reports.take();
        if let Err(error) = check.settle(store, &parts.table, &reports) {
            parts.reports.put_back(reports);
            return Err(error);
        }
        let compares = parts.table.is_loaded() && check.compare_page(store, &parts.table)?;
        let publisher = &mut parts.publisher;
        let published = store
            .publish_newest(BATCH, &*parts.table, &mut |entries| publisher.publish(entries))?;
        for raised in &published.raised {
            check.remove(&raised.id);
        }
        if let Some(LinkEntry { id, version, .. }) = published.raised.first() {
            let links = published.raised.len();
            parts.metrics.links.raised.inc_by(links as u64);
            tracing::warn!(
                code = "links_behind",
                links,
                id,
                version,
                "the link store was behind the topic: changes got the version after the topic's"
            );
        }
        if published.links > 0 {
            parts.metrics.links.published.inc_by(published.links as u64);
        }
        // Among many waiting links, a count takes longer than to publish a batch.
        if published.links < BATCH as usize {
            let waiting = store.waiting()?;
            parts.metrics.links.waiting.set(gauge(waiting));
        } else if parts.metrics.links.waiting.get() == 0 {
            parts.metrics.links.waiting.set(i64::from(BATCH));
        }
        report_behind(parts, check);
        Ok(compares || published.links > 0 || !published.raised.is_empty())
    }
}

/// Shows which links of the store are behind, and logs each change of that.
fn report_behind<P>(parts: &PublisherParts<P>, check: &StoreCheck) {
    parts.metrics.links.behind.set(gauge(check.count()));
    match check.problem() {
        None => parts.behind.set(None),
        Some(problem) => {
            if parts.behind.is_new(problem.clone()) {
                let code = "links_behind";
                tracing::warn!(code, cause = problem, "the link store is behind the topic");
            }
        }
    }
}
