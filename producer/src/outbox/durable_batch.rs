//! A batch of clicks, which the outbox accepts as a whole or not at all. Its sender waits until the batch
//! is durable.

use std::ops::Range;

use crate::clock::now_ms;
use crate::outbox::Outbox;
use crate::outbox::frame::{self, StoredClick};
use crate::outbox::offer::{Loss, TraceHeaders};
use crate::outbox::outbox_state::DiskState;
use service::lock::lock;

/// Encoded clicks, ready to be written.
#[derive(Debug, Default)]
pub struct DurableBatch {
    frames: Vec<u8>,
    lengths: Vec<usize>,
}

/// Identifies the clicks of a batch that the outbox has accepted.
#[derive(Debug, Clone)]
pub struct Ticket {
    taken: Range<u64>,
    sync_failures: u64,
}

impl DurableBatch {
    /// Adds the Avro datum of a click; false, without adding it, if it is too large.
    #[must_use]
    pub fn push(&mut self, datum: &[u8], trace: TraceHeaders<'_>) -> bool {
        let start = self.frames.len();
        let stored = StoredClick { taken_ms: now_ms(), trace, datum };
        let written = frame::write(&stored, &mut self.frames);
        if written {
            self.lengths.push(self.frames.len() - start);
        }
        written
    }

    /// Number of clicks.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is no click.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

impl Outbox {
    /// Accepts all clicks of a batch, and returns at once.
    ///
    /// # Errors
    /// Why it accepted none. It does not count them as lost: the caller still has them.
    /// [`Loss::TooLarge`]: memory never has room for so many.
    pub fn offer_all(&self, batch: &DurableBatch) -> Result<Ticket, Loss> {
        let sync_failures = lock(&self.shared.disk).sync_failures;
        let taken = self.shared.put_all(&batch.frames, &batch.lengths)?;
        Ok(Ticket { taken, sync_failures })
    }

    /// Waits until the clicks of a batch are as durable as the sync policy promises. Waits without end if
    /// the disk hangs.
    ///
    /// # Errors
    /// The disk failed. Clicks that could not be written are counted as lost; the others may still be
    /// delivered.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), Loss> {
        let Ticket { taken, sync_failures } = ticket;
        let written = self.wait_for(|disk| {
            let written = (!disk.lacks(&taken)).then_some(disk.written);
            (disk.settled >= taken.end).then_some(written)
        });
        let written = written.await.ok_or(Loss::OutboxDisk)?;
        if !self.shared.syncs() {
            return Ok(());
        }
        let synced = self.wait_for(|disk| {
            if disk.sync_failures != sync_failures {
                // The system may have discarded the bytes that it could not sync.
                return Some(Err(Loss::OutboxDisk));
            }
            (disk.synced >= written).then_some(Ok(()))
        });
        synced.await
    }

    /// Waits until `condition` returns a value.
    async fn wait_for<T>(&self, condition: impl Fn(&DiskState) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed_async.notified());
            // From here on no notification is missed.
            changed.as_mut().enable();
            let answer = condition(&lock(&self.shared.disk));
            match answer {
                Some(answer) => return answer,
                None => changed.await,
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
    use crate::outbox::outbox_settings::{BYTES_MIN, OutboxSettings, QueueLimits, SyncPolicy};
    use crate::outbox::reader::Found;

    fn batch(numbers: Range<u64>) -> DurableBatch {
        let mut batch = DurableBatch::default();
        for number in numbers {
            assert!(batch.push(&number.to_le_bytes().repeat(128), TraceHeaders::default()));
        }
        batch
    }

    fn open(folder: &std::path::Path, settings: OutboxSettings) -> (Outbox, Metrics) {
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
        for sync in [SyncPolicy::Always, SyncPolicy::Group, SyncPolicy::Os] {
            let folder = tempfile::tempdir().unwrap();
            let settings = OutboxSettings {
                sync,
                sync_every: Duration::from_millis(5),
                ..OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 1 << 20, bytes: 64 << 20 })
            };
            let (outbox, _) = open(folder.path(), settings);
            for start in (0..400).step_by(100) {
                let ticket = outbox.offer_all(&batch(start..start + 100)).unwrap();
                outbox.durable(ticket).await.unwrap();
                let disk = lock(&outbox.shared.disk);
                assert_eq!(disk.written, start + 100);
                assert!(sync == SyncPolicy::Os || disk.synced == start + 100, "{sync:?}");
            }
            assert_eq!(numbers(&outbox), (0..400).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_leaves_nothing_and_is_no_loss() {
        let folder = tempfile::tempdir().unwrap();
        let settings = OutboxSettings {
            sync: SyncPolicy::Os,
            ..OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 2_000, bytes: 64 << 20 })
        };
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
    fn no_loss_is_forgotten_while_a_batch_may_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, _) = open(
            folder.path(),
            OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 9, bytes: 9_000 }),
        );
        let mut disk = lock(&outbox.shared.disk);
        disk.lose(5..9);
        disk.lose(9..12);
        let lacking =
            |disk: &DiskState| [0..5, 4..6, 11..13, 12..20].map(|clicks| disk.lacks(&clicks));
        assert_eq!(lacking(&disk), [false, true, true, false]);
        // Of older losses it is not kept whose they were.
        disk.lose(20..21);
        assert_eq!(lacking(&disk), [true, true, true, false]);
        assert!(disk.lacks(&(19..21)) && !disk.lacks(&(21..30)));
    }
}
