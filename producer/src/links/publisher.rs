//! From the store's queue to the topic: each link in its current state, repeated until it is there.
//!
//! A link leaves the queue only after all replicas have it, so the publisher may die anywhere. While
//! a link is in flight no other host publishes it: versions reach the topic in their order.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::links::link_entry::LinkEntry;
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::store_location::StoreLocation;
use crate::metrics::Metrics;
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;
use service::worker::{Problem, Worker};

/// Most links published at once.
const BATCH: u32 = 1000;
/// Longest wait for a wakeup: the delay of a change by another process.
const TICK: Duration = Duration::from_millis(200);
/// Wait after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Brings links to the topic.
pub trait Publish: Send + 'static {
    /// Returns once all replicas have every link, or with the cause why that is not certain.
    ///
    /// # Errors
    /// The cause, for people.
    fn publish(&mut self, entries: &[LinkEntry]) -> Result<(), String>;
}

/// Links of which the topic holds an older version behind a newer one, which is superseded. After
/// compaction only the older one would be left, so they are published once more.
#[derive(Debug, Default)]
pub struct SupersededLinks(Mutex<BTreeSet<String>>);

impl SupersededLinks {
    /// Adds one, by its id.
    pub fn add(&self, id: &str) {
        self.all().insert(id.to_owned());
    }

    /// Passes them to `queue` and forgets them, unless that fails.
    fn requeue<E>(&self, queue: impl FnOnce(&BTreeSet<String>) -> Result<(), E>) -> Result<(), E> {
        let mut all = self.all();
        if !all.is_empty() {
            queue(&all)?;
            all.clear();
        }
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.0)
    }
}

/// What the publisher needs.
#[derive(Debug)]
pub struct PublisherParts<P> {
    /// Where the store is.
    pub location: StoreLocation,
    /// The topic.
    pub publisher: P,
    /// Notified of each change in this process.
    pub wakeup: Arc<Wakeup>,
    /// The links that the follower found superseded.
    pub superseded: Arc<SupersededLinks>,
    /// Its metrics.
    pub metrics: Metrics,
    /// The current problem, for the health probe.
    pub problem: Problem,
    /// Ends the publisher.
    pub stop: CancellationToken,
}

/// The running publisher.
#[derive(Debug)]
pub struct LinkPublisher(Worker);

impl LinkPublisher {
    /// Starts it on a thread of its own.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start<P: Publish>(parts: PublisherParts<P>) -> std::io::Result<Self> {
        let (wakeup, stop) = (Arc::clone(&parts.wakeup), parts.stop.clone());
        Worker::start("link-publisher", stop, Some(wakeup), move || run(parts)).map(Self)
    }

    /// Its thread.
    pub fn into_worker(self) -> Worker {
        self.0
    }
}

fn run<P: Publish>(mut parts: PublisherParts<P>) {
    let (mut store, mut pause) = (None, PAUSE_MIN);
    while !parts.stop.is_cancelled() {
        match publish_batch(&mut store, &mut parts) {
            Ok(published) => {
                pause = PAUSE_MIN;
                parts.problem.set(None);
                if published == 0 {
                    parts.wakeup.wait(TICK);
                }
            }
            Err(error) => {
                // A connection that failed once is not trusted again.
                store = None;
                let (code, cause) = (error.code(), error.to_string());
                parts.metrics.links.failed(code);
                if parts.problem.is_new(format!("{code}: {cause}")) {
                    tracing::error!(code, cause, "changes of links wait to be published");
                }
                parts.wakeup.wait(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Publishes at most a batch of waiting links. Returns how many.
fn publish_batch<P: Publish>(
    store: &mut Option<Store>,
    parts: &mut PublisherParts<P>,
) -> Result<usize, StoreError> {
    let store = match store {
        Some(store) => store,
        None => store.insert(Store::open(&parts.location)?),
    };
    parts.superseded.requeue(|links| store.queue(links))?;
    let publisher = &mut parts.publisher;
    let published = store.publish_waiting(BATCH, &mut |entries| publisher.publish(entries))?;
    if published > 0 {
        parts.metrics.links.published.inc_by(published as u64);
    }
    // Counting them takes longer than publishing a few of many.
    if published < BATCH as usize {
        let waiting = store.waiting()?;
        parts.metrics.links.waiting.set(gauge(waiting));
    } else if parts.metrics.links.waiting.get() == 0 {
        parts.metrics.links.waiting.set(i64::from(BATCH));
    }
    Ok(published)
}
