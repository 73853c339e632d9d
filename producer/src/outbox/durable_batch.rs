//! Clicks that are taken together or not at all, and whose sender waits until they are durable.

use std::ops::Range;

use crate::clock::now_ms;
use crate::outbox::Outbox;
use crate::outbox::frame::{self, Stored};
use crate::outbox::offer::{Loss, TraceHeaders};
use crate::outbox::outbox_state::Disk;
use service::lock::lock;

/// Clicks, ready to be written.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Vec<u8>,
    lengths: Vec<usize>,
}

/// Names the clicks of a batch that was taken.
#[derive(Debug, Clone)]
pub struct Ticket {
    taken: Range<u64>,
    sync_failures: u64,
}

impl Batch {
    /// Adds the Avro datum of a click; false if it is too large, and nothing was added.
    #[must_use]
    pub fn push(&mut self, datum: &[u8], trace: TraceHeaders<'_>) -> bool {
        let start = self.frames.len();
        let stored = Stored { taken_ms: now_ms(), trace, datum };
        let written = frame::write(&stored, &mut self.frames);
        if written {
            self.lengths.push(self.frames.len() - start);
        }
        written
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

impl Outbox {
    /// Takes all clicks of a batch, and returns at once.
    ///
    /// # Errors
    /// Why it took none. They are not counted as lost: whoever offers them has them still.
    /// [`Loss::TooLarge`]: memory never has room for so many.
    pub fn offer_all(&self, batch: &Batch) -> Result<Ticket, Loss> {
        let sync_failures = lock(&self.shared.disk).sync_failures;
        let taken = self.shared.put_all(&batch.frames, &batch.lengths)?;
        Ok(Ticket { taken, sync_failures })
    }

    /// Waits until the clicks of a batch survive what the sync policy promises. Waits for ever when
    /// the disk does.
    ///
    /// # Errors
    /// The disk failed. Clicks that could not be written are counted as lost; others may be
    /// delivered all the same.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), Loss> {
        let Ticket { taken, sync_failures } = ticket;
        let written = self.when(|disk| {
            let written = (!disk.lacks(&taken)).then_some(disk.written);
            (disk.settled >= taken.end).then_some(written)
        });
        let written = written.await.ok_or(Loss::OutboxDisk)?;
        if !self.shared.syncs() {
            return Ok(());
        }
        let synced = self.when(|disk| match disk.sync_failures == sync_failures {
            true => (disk.synced >= written).then_some(Ok(())),
            // Whether the system still has what it could not sync is not known.
            false => Some(Err(Loss::OutboxDisk)),
        });
        synced.await
    }

    /// Waits until `ask` has an answer.
    async fn when<T>(&self, ask: impl Fn(&Disk) -> Option<T>) -> T {
        loop {
            let mut news = std::pin::pin!(self.shared.news.notified());
            // From here on nothing is missed.
            news.as_mut().enable();
            let answer = ask(&lock(&self.shared.disk));
            match answer {
                Some(answer) => return answer,
                None => news.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;
    use crate::outbox::offer::{ClickSink as _, Offered};
    use crate::outbox::reader::Found;
    use crate::outbox::{BYTES_MIN, Settings, Sync};

    fn batch(numbers: Range<u64>) -> Batch {
        let mut batch = Batch::default();
        for number in numbers {
            assert!(batch.push(&number.to_le_bytes().repeat(128), TraceHeaders::default()));
        }
        batch
    }

    fn open(folder: &std::path::Path, settings: Settings) -> (Outbox, Metrics) {
        let metrics = Metrics::default();
        let outbox = Outbox::open(folder, settings, r#""bytes""#, &metrics, Arc::default());
        (outbox.unwrap(), metrics)
    }

    fn numbers(outbox: &Outbox) -> Vec<u64> {
        let (mut reader, mut numbers) = (outbox.reader(), Vec::new());
        while let Found::Click { stored, .. } = reader.read().unwrap() {
            numbers.push(u64::from_le_bytes(*stored.datum.first_chunk().unwrap()));
        }
        numbers
    }

    #[tokio::test]
    async fn a_batch_is_durable_when_its_last_click_is_written_and_synced() {
        for sync in [Sync::Always, Sync::Group, Sync::Os] {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings {
                sync,
                sync_every: Duration::from_millis(5),
                ..Settings::new(BYTES_MIN, (1 << 20, 64 << 20))
            };
            let (outbox, _) = open(folder.path(), settings);
            for start in (0..400).step_by(100) {
                let ticket = outbox.offer_all(&batch(start..start + 100)).unwrap();
                outbox.durable(ticket).await.unwrap();
                let disk = lock(&outbox.shared.disk);
                assert_eq!(disk.written, start + 100);
                assert!(sync == Sync::Os || disk.synced == start + 100, "{sync:?}");
            }
            assert_eq!(numbers(&outbox), (0..400).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_leaves_nothing_and_is_no_loss() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { sync: Sync::Os, ..Settings::new(BYTES_MIN, (2_000, 64 << 20)) };
        let (outbox, metrics) = open(folder.path(), settings);
        assert_eq!(outbox.offer_all(&batch(0..2_001)).unwrap_err(), Loss::TooLarge);
        assert_eq!(outbox.offer_all(&batch(0..1_100)).unwrap_err(), Loss::OutboxFull);
        assert_eq!((outbox.waiting(), metrics.undelivered()), (0, 0));
        outbox.offer_all(&batch(0..900)).unwrap();
        assert_eq!(outbox.offer_all(&batch(900..1_100)).unwrap_err(), Loss::OutboxFull);
        assert_eq!(outbox.offer(&[1; 100], TraceHeaders::default()), Offered::Queued);
        outbox.close();
        assert_eq!((outbox.waiting(), metrics.undelivered()), (901, 0));
        assert_eq!(outbox.offer_all(&batch(0..1)).unwrap_err(), Loss::Shutdown);
    }

    #[test]
    fn no_loss_is_forgotten_while_somebody_may_ask() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, _) = open(folder.path(), Settings::new(BYTES_MIN, (9, 9_000)));
        let mut disk = lock(&outbox.shared.disk);
        disk.lose(5..9);
        disk.lose(9..12);
        let lacking = |disk: &Disk| [0..5, 4..6, 11..13, 12..20].map(|clicks| disk.lacks(&clicks));
        assert_eq!(lacking(&disk), [false, true, true, false]);
        // Of older losses it is not kept whose they were.
        disk.lose(20..21);
        assert_eq!(lacking(&disk), [true, true, true, false]);
        assert!(disk.lacks(&(19..21)) && !disk.lacks(&(21..30)));
    }
}
