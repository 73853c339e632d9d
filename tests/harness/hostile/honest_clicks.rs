//! Honest clicks, written to the log at a steady rate; each has a unique number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use schemas::{Encoder, RawClick, SchemaId};
use uuid::Uuid;

use crate::raw_produce::{BatchRecord, RawRecords};
use crate::world::World;

/// The slug of an honest click.
pub(super) const SLUG: &str = "honest";
/// The time between two batches of a partition, and the clicks of a batch.
const EVERY: Duration = Duration::from_millis(250);
const CLICKS: u64 = 8;

/// Writes the clicks.
#[derive(Debug)]
pub(super) struct HonestClicks {
    brokers: String,
    topic: String,
    encoder: Encoder,
    partitions: i32,
    sent: Mutex<u64>,
    stop: AtomicBool,
}

impl HonestClicks {
    /// For a world whose topic has `partitions` partitions.
    pub(super) fn new(world: &World, id: SchemaId, partitions: i32) -> Self {
        Self {
            brokers: world.backends.kafka.clone(),
            topic: world.topic.clone(),
            encoder: Encoder::new(id),
            partitions,
            sent: Mutex::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Writes `count` clicks to a partition.
    ///
    /// # Panics
    /// The broker refuses them.
    pub(super) fn send(&self, partition: i32, count: u64) {
        // Locked during the write, so that the count is that of clicks in the log.
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let record = |number: u64| {
            let (query, mut value) = (format!("n={number}"), Vec::new());
            let now_us = jiff::Timestamp::now().as_microsecond();
            let mut click = RawClick::new(Uuid::now_v7(), now_us, SLUG);
            click.query = Some(&query);
            self.encoder.encode(&click, &mut value).expect("a good click");
            BatchRecord { value: Some(value), ..BatchRecord::default() }
        };
        let records: Vec<_> = (*sent..*sent + count).map(record).collect();
        let batch = RawRecords::new(&records).plain();
        let (code, _) = batch.send(&self.brokers, &self.topic, partition);
        assert_eq!(code, 0, "the broker takes an honest click");
        *sent += count;
    }

    /// Writes until [`HonestClicks::stop`].
    pub(super) fn run(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            (0..self.partitions).for_each(|partition| self.send(partition, CLICKS));
            std::thread::sleep(EVERY);
        }
    }

    /// Ends [`HonestClicks::run`].
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// The number of clicks in the log.
    pub(super) fn sent(&self) -> u64 {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
