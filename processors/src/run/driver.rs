//! The driver: reads blocks, stores batches, and turns the trackers' actions into requests.
//!
//! Some batches are in flight while the next one is filled; when that one is full and no more may
//! start, reading waits (`backpressure`). All `select!` is here.
#![expect(clippy::disallowed_methods, reason = "passes the time to the parts of the loop")]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{ErrorClass, MEMBER_FENCED, POSITION_LOST, ServerError};
use records::flow::start_policy::{StartPosition, StartReason};
use records::flow::tracker::{Action, BatchId, Input, Tracker};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::processor::ProcessorMetrics;
use crate::run::backpressure::Backpressure;
use crate::run::batch_writer::BatchWriter;
use crate::run::batcher::Batcher;
use crate::run::block_encoder::BlockEncoder;
use crate::run::driver_settings::DriverSettings;
use crate::run::in_flight::{BatchState, InFlightBatches};
use crate::run::offset_requests::{BrokerReply, OffsetRequests};
use crate::run::revocation::Revocation;
use crate::run::sink::{DeadLetterSink, Sink};
use crate::run::source::{EpochPosition, Notice, Source};
use service::number::gauge;

/// Interval of [`Input::Tick`]: short enough to notice a failed assignment and to repeat a failed commit
/// soon.
const TICK: Duration = Duration::from_secs(1);
/// Maximum of batches that only wait. While the registry does not answer, each batch that holds a record of
/// an unknown schema id is one of them; while one of several shards fails, each batch that holds a click of it.
const WAITING_MAX: usize = 500;
/// The stage of reading a partition.
const READ: &str = "read";
/// Code of a partition of which no record is read although the log has some.
const PARTITION_STALLED: &str = "partition_stalled";

/// The state of the loop.
#[derive(Debug)]
pub struct Driver<S, K, D> {
    source: Arc<S>,
    encoder: Arc<BlockEncoder>,
    writer: Arc<BatchWriter<K, D>>,
    metrics: ProcessorMetrics,
    settings: DriverSettings,
    trackers: BTreeMap<i32, Tracker>,
    batcher: Batcher,
    in_flight: InFlightBatches,
    requests: OffsetRequests,
    revocation: Option<Revocation>,
    backpressure: Backpressure,
    lag: u64,
    /// The position after the last record of each partition that a batch holds, or its start.
    taken: BTreeMap<i32, i64>,
    /// Those positions at the last tick, of partitions that have more records to read.
    waiting: BTreeMap<i32, i64>,
}

impl<S: Source, K: Sink, D: DeadLetterSink> Driver<S, K, D> {
    /// A driver that has read nothing yet.
    pub fn new(
        source: S,
        encoder: Arc<BlockEncoder>,
        writer: BatchWriter<K, D>,
        metrics: ProcessorMetrics,
        settings: DriverSettings,
    ) -> Self {
        let batcher = Batcher::new(settings.linger, settings.blocks_max);
        metrics.waiting_bound_blocks.set(gauge(batcher.waiting_max()));
        Self {
            source: Arc::new(source),
            encoder,
            writer: Arc::new(writer),
            metrics,
            settings,
            trackers: BTreeMap::new(),
            batcher,
            in_flight: InFlightBatches::default(),
            requests: OffsetRequests::new(),
            revocation: None,
            backpressure: Backpressure::default(),
            lag: 0,
            taken: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Runs until `shutdown`, then finishes and commits what was read, within the drain timeout.
    ///
    /// # Errors
    /// Fatal: the driver stopped immediately and committed nothing more. Retryable: the drain timeout
    /// passed; the next member reads again what was not committed.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            let deadline = self.batcher.deadline(self.lag).filter(|_| self.may_start_batch());
            let may_read = self.backpressure.may_read();
            let pause_at = self.backpressure.pause_at();
            let source = Arc::clone(&self.source);
            let (block, limits, encoding) = self.batcher.parts();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = tick.tick() => self.tick()?,
                Some(stored) = self.in_flight.join_next() => self.batch_stored(stored?),
                Some(reply) = self.requests.next_reply() => self.take_reply(reply?)?,
                Some(encoded) = encoding.join_next() => self.batcher.join(encoded)?,
                () = sleep_until(deadline) => self.batcher.flush(&self.encoder),
                () = sleep_until(pause_at) => self.backpressure.pause(&*self.source)?,
                filled = source.fill(block, limits), if may_read => self.block_filled(filled)?,
            }
            self.advance()?;
        }
        let drain_timeout = self.settings.drain_timeout;
        match tokio::time::timeout(drain_timeout, self.drain()).await {
            Ok(drained) => drained,
            Err(_) => Err(ServerError::retryable(
                "drain_timeout",
                format!(
                    "stopped after {} s before all records that were read were committed; the next \
                     member reads them again",
                    drain_timeout.as_secs()
                ),
            )),
        }
    }

    async fn drain(&mut self) -> Result<(), ServerError> {
        self.batcher.flush(&self.encoder);
        let mut tick = tokio::time::interval(TICK);
        loop {
            self.advance()?;
            let settled = self.trackers.values().all(Tracker::is_settled);
            let idle = self.in_flight.is_empty() && self.requests.is_idle();
            if settled && idle && self.batcher.is_empty() {
                return Ok(());
            }
            let (.., encoding) = self.batcher.parts();
            tokio::select! {
                biased;
                _ = tick.tick() => self.tick()?,
                Some(stored) = self.in_flight.join_next() => self.batch_stored(stored?),
                Some(reply) = self.requests.next_reply() => self.take_reply(reply?)?,
                Some(encoded) = encoding.join_next() => self.batcher.join(encoded)?,
            }
        }
    }

    /// Whether another batch may start. A batch that only waits, for a decision about its bad records or for
    /// shards that do not take its rows, does not count, within the bounds of memory and of [`WAITING_MAX`].
    fn may_start_batch(&self) -> bool {
        let DriverSettings { linger, batches_max, .. } = self.settings;
        let waiting = self.in_flight.waiting();
        waiting < WAITING_MAX
            && self.in_flight.len().saturating_sub(waiting) < batches_max
            && self.in_flight.bytes() < batches_max * linger.limits.bytes_max
    }

    fn block_filled(&mut self, filled: Result<(), ServerError>) -> Result<(), ServerError> {
        self.batcher.note_read(Instant::now());
        self.backpressure.pause_new(&*self.source)?;
        let Err(error) = filled else { return Ok(()) };
        if error.code == MEMBER_FENCED {
            return Err(error);
        }
        if error.code == POSITION_LOST {
            self.requests.seek_into_log();
        }
        self.log_error("read", error)?;
        self.requests.send_next(&self.source);
        Ok(())
    }

    /// Cuts blocks and starts batches that are due, and lets reading continue or wait.
    fn advance(&mut self) -> Result<(), ServerError> {
        self.batcher.cut_when_due(&self.encoder);
        while self.batcher.is_due() && self.may_start_batch() {
            self.start_batch()?;
            self.batcher.cut_when_due(&self.encoder);
        }
        self.backpressure.update(self.batcher.is_blocked(), Instant::now(), &*self.source)?;
        self.release_revoked()?;
        self.set_gauges();
        Ok(())
    }

    fn start_batch(&mut self) -> Result<(), ServerError> {
        // A tracker must get the start and the end of an assignment before the records that were read
        // under it.
        self.take_notices()?;
        let batch = self.batcher.take_batch();
        if batch.ranges.is_empty() {
            return Ok(());
        }
        let id = self.in_flight.next_id();
        for (partition, range) in batch.ranges.iter() {
            self.taken.insert(partition, range.next);
            let (epoch, first, next) = (range.epoch, range.first, range.next);
            self.step_tracker(partition, Input::BatchStarted { batch: id, epoch, first, next });
        }
        self.metrics.records.inc_by(batch.records as u64);
        let (state, writer) = (BatchState::new(batch.bytes), Arc::clone(&self.writer));
        let epochs = batch.ranges.iter().map(|(partition, range)| (partition, range.epoch));
        let epochs = epochs.collect();
        self.in_flight.start(id, epochs, state.clone(), writer.store(batch, state));
        Ok(())
    }

    fn batch_stored(&mut self, batch: BatchId) {
        self.step_all_trackers(Input::BatchStored { batch });
    }

    fn step_all_trackers(&mut self, input: Input) {
        let partitions: Vec<i32> = self.trackers.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.step_tracker(partition, input));
        self.requests.send_next(&self.source);
    }

    fn step_tracker(&mut self, partition: i32, input: Input) {
        for action in self.trackers.entry(partition).or_default().step(input) {
            match action {
                Action::Commit { epoch, position } => {
                    self.requests.commit(partition, EpochPosition { epoch, position });
                }
                Action::LogTruncated { from, to } => {
                    self.metrics.position_resets.inc();
                    let code = "position_jumped_back";
                    let what = "the log was truncated or recreated while it was read";
                    tracing::error!(code, partition, from, to, "{what}");
                }
                Action::PositionReset { from, to } => {
                    self.metrics.position_resets.inc();
                    let code = "position_moved";
                    let what = "another client reset the committed position; reading from there";
                    tracing::warn!(code, partition, from, to, "{what}");
                    self.requests.cancel_commit(partition);
                    self.requests.seek(partition, to);
                }
            }
        }
    }

    fn take_reply(&mut self, reply: BrokerReply) -> Result<(), ServerError> {
        match reply {
            BrokerReply::Commit(positions, Ok(())) => {
                self.metrics.commits.inc();
                self.metrics.attempts.all_ended("commit");
                for (partition, EpochPosition { epoch, position }) in positions {
                    self.step_tracker(partition, Input::CommitAcknowledged { epoch, position });
                }
            }
            BrokerReply::Commit(positions, Err(error)) => {
                for (partition, EpochPosition { epoch, .. }) in positions {
                    self.step_tracker(partition, Input::CommitFailed { epoch });
                }
                self.log_error("commit", error)?;
            }
            BrokerReply::Query(Ok(positions)) => {
                self.metrics.attempts.all_ended("query");
                for (partition, EpochPosition { epoch, position }) in positions {
                    self.step_tracker(partition, Input::CommittedPosition { epoch, position });
                }
            }
            BrokerReply::Query(Err(error)) => self.log_error("query", error)?,
            BrokerReply::Seek { outcome: Ok(()), .. } | BrokerReply::SeekIntoLog(Ok(())) => {
                self.metrics.attempts.all_ended("seek");
            }
            BrokerReply::SeekIntoLog(Err(error)) => {
                // Not immediately: the next tick sends it again.
                self.requests.seek_into_log();
                return self.log_error("seek", error);
            }
            BrokerReply::Seek { partition, position, outcome: Err(error) } => {
                // Requests the seek again, unless the assignment has ended meanwhile.
                if self.source.lag().contains_key(&partition) {
                    self.requests.seek(partition, position);
                }
                self.take_notices()?;
                return self.log_error("seek", error);
            }
        }
        self.take_notices()?;
        self.requests.send_next(&self.source);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), ServerError> {
        self.take_notices()?;
        self.in_flight.drop_ended(|partition, epoch| {
            self.trackers.get(&partition).and_then(Tracker::epoch) == Some(epoch)
        });
        let lag = self.source.lag();
        self.lag = lag.values().sum();
        self.metrics.set_lag(&lag);
        // Records that a limit delays are no problem.
        let waiting = if self.source.is_throttled() { BTreeMap::new() } else { lag };
        self.note_waiting(&waiting);
        self.step_all_trackers(Input::Tick);
        Ok(())
    }

    /// Names partitions of which no record is read although the log has some, whatever the cause.
    fn note_waiting(&mut self, lag: &BTreeMap<i32, u64>) {
        let position = |partition| self.taken.get(partition).copied().unwrap_or_default();
        let waiting = lag.iter().filter(|(_, records)| **records > 0);
        let waiting = waiting.map(|(partition, _)| (*partition, position(partition)));
        let waiting: BTreeMap<i32, i64> = waiting.collect();
        let attempts = &self.metrics.attempts;
        for (partition, position) in &self.waiting {
            if waiting.get(partition) != Some(position) {
                attempts.ended(READ, &format!("{partition}:{position}"));
            }
        }
        for (partition, position) in &waiting {
            let what = format!("{partition}:{position}");
            if attempts.failed(READ, &what, PARTITION_STALLED)
                && self.waiting.get(partition) == Some(position)
            {
                let (partition, position, code) = (*partition, *position, PARTITION_STALLED);
                tracing::warn!(
                    code,
                    partition,
                    position,
                    "the partition has records, but none of them is read"
                );
            }
        }
        self.waiting = waiting;
    }

    /// Applies the changes of the assignment, and logs them.
    fn take_notices(&mut self) -> Result<(), ServerError> {
        for notice in self.source.take_notices()? {
            match notice {
                Notice::Assigned { partition, epoch, start, committed } => {
                    self.metrics.expired.inc_by(start.lost().unsigned_abs());
                    log_start(partition, start);
                    let position = start.position;
                    self.taken.insert(partition, position);
                    self.step_tracker(partition, Input::Assigned { epoch, position, committed });
                }
                Notice::RevocationRequested { partitions } => {
                    tracing::info!(?partitions, "the group revokes partitions");
                    let deadline = Instant::now() + self.settings.release_timeout;
                    let revocation = self.revocation.get_or_insert(Revocation::new(deadline));
                    revocation.add(partitions);
                    self.batcher.flush(&self.encoder);
                }
                Notice::Revoked { partition } => {
                    tracing::info!(partition, "the assignment of a partition has ended");
                    self.requests.forget(partition);
                    self.step_tracker(partition, Input::Revoked);
                }
            }
        }
        let assigned = self.trackers.values().filter(|tracker| tracker.epoch().is_some()).count();
        self.metrics.assigned.set(gauge(assigned));
        Ok(())
    }

    /// Releases partitions that the group revokes, when all that was read of them is committed or only waits
    /// for a decision, or the deadline has passed. The next owner reads again what waits, and nothing of it
    /// is committed here.
    fn release_revoked(&mut self) -> Result<(), ServerError> {
        let Some(revocation) = &self.revocation else { return Ok(()) };
        let in_flight = &self.in_flight;
        let settled =
            |tracker: &Tracker| tracker.is_settled_but(|batch| in_flight.is_waiting(batch));
        let settled = |partition| self.trackers.get(partition).is_none_or(settled);
        // No batch starts before a decision if all that are in flight wait for one.
        let only_waits = in_flight.len() == in_flight.waiting() && !self.may_start_batch();
        let is_flushed = !self.batcher.is_flushing() || only_waits;
        let done = is_flushed && revocation.partitions().iter().all(settled);
        if !done && !revocation.is_overdue(Instant::now()) {
            return Ok(());
        }
        self.source.release(revocation.partitions())?;
        self.revocation = None;
        self.take_notices()
    }

    fn set_gauges(&self) {
        self.metrics.batch_rows.set(gauge(self.batcher.records()));
        self.metrics.batch_bytes.set(gauge(self.batcher.bytes()));
        self.metrics.waiting_blocks.set(gauge(self.batcher.waiting_blocks()));
        self.metrics.waiting_bytes.set(gauge(self.batcher.waiting_bytes()));
        self.metrics.in_flight_batches.set(gauge(self.in_flight.len()));
        self.metrics.in_flight_bytes.set(gauge(self.in_flight.bytes()));
    }

    /// Counts and logs an error of an attempt that is repeated.
    ///
    /// # Errors
    /// A fatal `error`.
    fn log_error(&mut self, stage: &'static str, error: ServerError) -> Result<(), ServerError> {
        if error.class == ErrorClass::Fatal {
            return Err(error);
        }
        if self.metrics.failed(stage, error.code) {
            tracing::warn!(stage, code = error.code, %error, "the attempt failed; it is repeated");
        }
        Ok(())
    }
}

fn log_start(partition: i32, start: StartPosition) {
    let position = start.position;
    match start.reason {
        StartReason::FirstRead | StartReason::Resumed | StartReason::Reset => {
            tracing::info!(partition, position, reason = ?start.reason, "a partition is assigned");
        }
        StartReason::Unchecked => {
            let code = "kafka_unreachable";
            let what = "the leader of a partition does not answer; the partition is read from here when it does";
            tracing::warn!(code, partition, position, "{what}");
        }
        StartReason::Expired { lost } => {
            let code = "records_expired";
            let what = "retention deleted records before they were read";
            tracing::error!(code, partition, position, lost, "{what}");
        }
        StartReason::BeyondEnd => {
            let code = "position_beyond_end";
            let what = "the committed position is beyond the log's end: the topic was recreated; \
                        reading it from its start";
            tracing::error!(code, partition, position, "{what}");
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
