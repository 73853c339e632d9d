//! From the store's outbox to the topic: each link in its current state, again until it is there.
//!
//! What waits is forgotten only after all replicas have it, so a relay may die anywhere. While a
//! link is on its way nobody else publishes it: versions reach the topic in their order.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::links::link_entry::Entry;
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::store_location::Place;
use crate::metrics::Metrics;
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;
use service::worker::{Problem, Worker};

/// Links handed over at once.
const BATCH: u32 = 1000;
/// Between two looks at the outbox, where nobody rings: a change by another process waits so long.
const BEAT: Duration = Duration::from_millis(200);
/// After a failure.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Brings links to the topic.
pub trait Publish: Send + 'static {
    /// Returns once all replicas have every one of them, or with the cause why that is not sure.
    ///
    /// # Errors
    /// The cause, for people.
    fn publish(&mut self, entries: &[Entry]) -> Result<(), String>;
}

/// Links of which the topic has an older version behind a newer one: whoever reads it once it is
/// compacted would get that one. They are published once more.
#[derive(Debug, Default)]
pub struct Overtaken(Mutex<BTreeSet<String>>);

impl Overtaken {
    /// Adds one, by its id.
    pub fn add(&self, id: &str) {
        self.all().insert(id.to_owned());
    }

    /// Hands them to `queue` and forgets them, unless that fails.
    fn hand_over<E>(
        &self,
        queue: impl FnOnce(&BTreeSet<String>) -> Result<(), E>,
    ) -> Result<(), E> {
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

/// What the relay works with.
#[derive(Debug)]
pub struct Parts<P> {
    /// Where the store is.
    pub place: Place,
    /// The topic.
    pub publisher: P,
    /// Rung by whoever changes a link in this process.
    pub wakeup: Arc<Wakeup>,
    /// What the follower has found.
    pub overtaken: Arc<Overtaken>,
    /// Its metrics.
    pub metrics: Metrics,
    /// What is wrong now, for whoever asks.
    pub problem: Problem,
    /// The end.
    pub stop: CancellationToken,
}

/// The running relay.
#[derive(Debug)]
pub struct LinkPublisher(Worker);

impl LinkPublisher {
    /// Starts the relay on a thread of its own.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start<P: Publish>(parts: Parts<P>) -> std::io::Result<Self> {
        let (wakeup, stop) = (Arc::clone(&parts.wakeup), parts.stop.clone());
        Worker::start("link-publisher", stop, Some(wakeup), move || run(parts)).map(Self)
    }

    /// Ends it. Blocks.
    pub fn stop(self) {
        self.0.stop();
    }
}

fn run<P: Publish>(mut parts: Parts<P>) {
    let (mut store, mut pause) = (None, PAUSE_MIN);
    while !parts.stop.is_cancelled() {
        match round(&mut store, &mut parts) {
            Ok(published) => {
                pause = PAUSE_MIN;
                parts.problem.set(None);
                if published == 0 {
                    parts.wakeup.wait(BEAT);
                }
            }
            Err(error) => {
                // A connection that failed once is not trusted again.
                store = None;
                let (code, cause) = (error.code(), error.to_string());
                parts.metrics.links.failed(code);
                if parts.problem.is_new(cause.clone()) {
                    tracing::error!(code, cause, "changes of links wait");
                }
                parts.wakeup.wait(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Publishes what waits, a batch at most. Says how many.
fn round<P: Publish>(store: &mut Option<Store>, parts: &mut Parts<P>) -> Result<usize, StoreError> {
    let store = match store {
        Some(store) => store,
        None => store.insert(Store::open(&parts.place)?),
    };
    parts.overtaken.hand_over(|links| store.queue(links))?;
    let publisher = &mut parts.publisher;
    let published = store.hand_over(BATCH, &mut |entries| publisher.publish(entries))?;
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
