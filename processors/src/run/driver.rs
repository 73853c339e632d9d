//! The loop: turns the trackers' actions into I/O and tells them what came of it.
//!
//! Some batches are on their way while the next is gathered; when that one is full and no more may
//! start, reading waits, and goes on with paused partitions before the group could miss us. All
//! `select!` is here.

use broker::{ErrorClass, MEMBER_FENCED, POSITION_LOST, ServerError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::flow::linger::Pace;
use crate::flow::start_policy::{Reason, Start};
use crate::flow::tracker::{Action, BatchId, Input, Tracker};
use crate::metrics::processor::Metrics;
use crate::run::batch::Batch;
use crate::run::batcher::Gather;
use crate::run::block_encoder::{Letters, Pipeline, Tables};
use crate::run::source::{Log, Notice, Positions};
use service::number::gauge;

/// What the loop may use, and how long it waits.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What a batch may hold, and how long it waits to be filled.
    pub pace: Pace,
    /// Blocks being encoded at once.
    pub blocks_max: usize,
    /// Batches being stored at once; one more is gathered meanwhile.
    pub batches_max: usize,
    /// How long a stop may take to finish what was read.
    pub drain: Duration,
    /// How long the group may have to wait for a partition that it wants back.
    pub release: Duration,
}

/// Often enough to notice a failed assignment and to repeat a refused commit soon.
const BEAT: Duration = Duration::from_secs(1);
/// How often the broker is asked which positions it holds.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long reading may wait before partitions are paused so that it can go on without records:
/// what was fetched by then is fetched again.
const PAUSE_AFTER: Duration = Duration::from_secs(2);
/// An outage of the broker makes one line in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What the broker was asked about positions, one question at a time.
#[derive(Debug)]
enum Answer {
    Committed(Positions, Result<(), ServerError>),
    Found(Result<Positions, ServerError>),
    Moved(i32, i64, Result<(), ServerError>),
    Realigned(Result<(), ServerError>),
}

/// Partitions that the group wants back.
#[derive(Debug)]
struct Leaving {
    partitions: Vec<i32>,
    until: Instant,
}

/// The loop's state.
#[derive(Debug)]
pub struct Driver<G, T, L> {
    log: Arc<G>,
    pipeline: Arc<Pipeline<T, L>>,
    metrics: Metrics,
    terms: Terms,
    trackers: BTreeMap<i32, Tracker>,
    gather: Gather,
    batches: BatchId,
    in_flight: JoinSet<Result<BatchId, ServerError>>,
    /// Bytes of each batch in flight.
    sizes: BTreeMap<BatchId, usize>,
    to_commit: Positions,
    /// Where partitions are to be read from that somebody moved.
    moved: BTreeMap<i32, i64>,
    /// Some position lies outside the log.
    astray: bool,
    leaving: Option<Leaving>,
    /// At most one task.
    asking: JoinSet<Answer>,
    looked: Instant,
    lag: u64,
    blocked: Option<Instant>,
    paused: bool,
    complained: Option<Instant>,
}

impl<G: Log, T: Tables, L: Letters> Driver<G, T, L> {
    /// A loop that has read nothing yet.
    pub fn new(log: G, pipeline: Pipeline<T, L>, terms: Terms) -> Self {
        Self {
            log: Arc::new(log),
            metrics: pipeline.metrics.clone(),
            pipeline: Arc::new(pipeline),
            terms,
            trackers: BTreeMap::new(),
            gather: Gather::new(terms.pace, terms.blocks_max),
            batches: 0,
            in_flight: JoinSet::new(),
            sizes: BTreeMap::new(),
            to_commit: Positions::new(),
            moved: BTreeMap::new(),
            astray: false,
            leaving: None,
            asking: JoinSet::new(),
            looked: Instant::now(),
            lag: 0,
            blocked: None,
            paused: false,
            complained: None,
        }
    }

    /// Runs until `shutdown`, then finishes and commits what was read, within the drain time.
    ///
    /// # Errors
    /// Fatal: stopped at once, nothing more was committed. Retryable: the drain time ran out;
    /// what was not committed is read again by whoever comes next.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let deadline = self.gather.deadline(self.lag).filter(|_| self.has_room());
            let reads = self.blocked.is_none() || self.paused;
            let pause = self.blocked.filter(|_| !self.paused).map(|since| since + PAUSE_AFTER);
            let log = Arc::clone(&self.log);
            let (block, limits, encoding) = self.gather.parts();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = beat.tick() => self.beat()?,
                Some(landed) = self.in_flight.join_next() => self.landed(landed)?,
                Some(answer) = self.asking.join_next() => self.answered(answer)?,
                Some(encoded) = encoding.join_next() => self.gather.join(encoded)?,
                () = at(deadline) => self.gather.flush(&self.pipeline),
                () = at(pause) => {
                    self.paused = true;
                    self.log.pause()?;
                }
                filled = log.fill(block, limits), if reads => self.filled(filled)?,
            }
            self.advance()?;
        }
        let drain = self.terms.drain;
        match tokio::time::timeout(drain, self.drain()).await {
            Ok(drained) => drained,
            Err(_) => Err(ServerError::retryable(
                "drain_timeout",
                format!(
                    "stopped after {} s with records read and not committed; they are read again",
                    drain.as_secs()
                ),
            )),
        }
    }

    async fn drain(&mut self) -> Result<(), ServerError> {
        self.gather.flush(&self.pipeline);
        let mut beat = tokio::time::interval(BEAT);
        loop {
            self.advance()?;
            let settled = self.trackers.values().all(Tracker::is_settled);
            let idle = self.in_flight.is_empty() && self.asking.is_empty();
            if settled && idle && self.gather.is_empty() {
                return Ok(());
            }
            let (.., encoding) = self.gather.parts();
            tokio::select! {
                biased;
                _ = beat.tick() => self.beat()?,
                Some(landed) = self.in_flight.join_next() => self.landed(landed)?,
                Some(answer) = self.asking.join_next() => self.answered(answer)?,
                Some(encoded) = encoding.join_next() => self.gather.join(encoded)?,
            }
        }
    }

    /// Whether another batch may start. One that only waits for the breaker leaves its place to
    /// the next, within the bound of memory.
    fn has_room(&self) -> bool {
        let Terms { pace, batches_max, .. } = self.terms;
        let bytes: usize = self.sizes.values().sum();
        self.in_flight.len().saturating_sub(self.pipeline.held()) < batches_max
            && bytes < batches_max * pace.limits.bytes_max
    }

    fn filled(&mut self, filled: Result<(), ServerError>) -> Result<(), ServerError> {
        self.gather.read();
        if self.paused {
            // A partition came since, or came back.
            self.log.pause()?;
        }
        let Err(error) = filled else { return Ok(()) };
        if error.code == MEMBER_FENCED {
            return Err(error);
        }
        self.astray |= error.code == POSITION_LOST;
        self.complain("read", error)?;
        self.ask();
        Ok(())
    }

    /// Sends on what is ready to be sent on, and lets reading go on or wait.
    fn advance(&mut self) -> Result<(), ServerError> {
        self.gather.cut_when_full(&self.pipeline);
        while self.gather.is_due() && self.has_room() {
            self.hand_over()?;
            self.gather.cut_when_full(&self.pipeline);
        }
        if self.gather.is_blocked() {
            self.blocked.get_or_insert_with(Instant::now);
        } else {
            self.blocked = None;
            if std::mem::take(&mut self.paused) {
                self.log.resume()?;
            }
        }
        self.release()?;
        self.gauge();
        Ok(())
    }

    /// Sends the gathered batch on its way.
    fn hand_over(&mut self) -> Result<(), ServerError> {
        // What was read under an assignment is told after its beginning and its end.
        self.hear()?;
        let batch: Batch = self.gather.take();
        if batch.records == 0 {
            return Ok(());
        }
        self.batches += 1;
        let id = self.batches;
        for (partition, span) in batch.spans.iter() {
            let (epoch, first, next) = (span.epoch, span.first, span.next);
            self.tell(partition, Input::Sent { batch: id, epoch, first, next });
        }
        self.metrics.records.inc_by(batch.records as u64);
        self.sizes.insert(id, batch.bytes);
        let pipeline = Arc::clone(&self.pipeline);
        self.in_flight.spawn(async move { pipeline.store(batch).await.map(|()| id) });
        Ok(())
    }

    fn landed(
        &mut self,
        landed: Result<Result<BatchId, ServerError>, JoinError>,
    ) -> Result<(), ServerError> {
        let batch = landed.map_err(panicked)??;
        self.sizes.remove(&batch);
        self.tell_all(Input::Durable { batch });
        Ok(())
    }

    fn tell_all(&mut self, input: Input) {
        let partitions: Vec<i32> = self.trackers.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.tell(partition, input));
        self.ask();
    }

    fn tell(&mut self, partition: i32, input: Input) {
        for action in self.trackers.entry(partition).or_default().step(input) {
            match action {
                Action::Commit { epoch, position } => {
                    self.to_commit.insert(partition, (epoch, position));
                }
                Action::JumpedBack { from, to } => {
                    self.metrics.jumps.inc();
                    let code = "position_jumped_back";
                    let what = "the log was cut or made anew while it was read";
                    tracing::error!(code, partition, from, to, "{what}");
                }
                Action::Moved { ours, theirs } => {
                    self.metrics.jumps.inc();
                    let code = "position_moved";
                    let what = "somebody else moved the committed position; reading on from there";
                    tracing::warn!(code, partition, ours, theirs, "{what}");
                    self.to_commit.remove(&partition);
                    self.moved.insert(partition, theirs);
                }
            }
        }
    }

    /// Asks the broker what is to be asked: commits first, else what somebody moved, else, now and
    /// then, what it holds.
    fn ask(&mut self) {
        if !self.asking.is_empty() {
            return;
        }
        let log = Arc::clone(&self.log);
        if !self.to_commit.is_empty() {
            let positions = std::mem::take(&mut self.to_commit);
            self.asking.spawn(async move {
                let outcome = log.commit(positions.clone()).await;
                Answer::Committed(positions, outcome)
            });
        } else if let Some((partition, position)) = self.moved.pop_first() {
            self.asking.spawn(async move {
                let outcome = log.read_from(partition, position).await;
                Answer::Moved(partition, position, outcome)
            });
        } else if std::mem::take(&mut self.astray) {
            self.asking.spawn(async move { Answer::Realigned(log.realign().await) });
        } else if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.asking.spawn(async move { Answer::Found(log.committed().await) });
        }
    }

    fn answered(&mut self, answer: Result<Answer, JoinError>) -> Result<(), ServerError> {
        match answer.map_err(panicked)? {
            Answer::Committed(positions, Ok(())) => {
                self.metrics.commits.inc();
                for (partition, (epoch, position)) in positions {
                    self.tell(partition, Input::Acknowledged { epoch, position });
                }
            }
            Answer::Committed(positions, Err(error)) => {
                for (partition, (epoch, _)) in positions {
                    self.tell(partition, Input::Refused { epoch });
                }
                self.complain("commit", error)?;
            }
            Answer::Found(Ok(positions)) => {
                for (partition, (epoch, position)) in positions {
                    self.tell(partition, Input::Found { epoch, position });
                }
            }
            Answer::Found(Err(error)) => self.complain("look", error)?,
            Answer::Moved(_, _, Ok(())) | Answer::Realigned(Ok(())) => {}
            Answer::Realigned(Err(error)) => {
                // Not at once: the next beat asks again.
                self.astray = true;
                return self.complain("seek", error);
            }
            Answer::Moved(partition, position, Err(error)) => {
                // Again, unless the assignment ended meanwhile.
                if self.log.lag().contains_key(&partition) {
                    self.moved.insert(partition, position);
                }
                self.hear()?;
                return self.complain("seek", error);
            }
        }
        self.hear()?;
        self.ask();
        Ok(())
    }

    fn beat(&mut self) -> Result<(), ServerError> {
        self.hear()?;
        let lag = self.log.lag();
        self.lag = lag.values().sum();
        self.metrics.lag(&lag);
        self.tell_all(Input::Beat);
        Ok(())
    }

    /// Takes in what happened to the assignment, and tells the operator.
    fn hear(&mut self) -> Result<(), ServerError> {
        for notice in self.log.notices()? {
            match notice {
                Notice::Assigned { partition, epoch, start, committed } => {
                    self.metrics.lost.inc_by(start.lost().unsigned_abs());
                    say(partition, start);
                    let position = start.position;
                    self.tell(partition, Input::Assigned { epoch, position, committed });
                }
                Notice::Asked { partitions } => {
                    tracing::info!(?partitions, "the group wants partitions back");
                    let until = Instant::now() + self.terms.release;
                    let none = || Leaving { partitions: Vec::new(), until };
                    self.leaving.get_or_insert_with(none).partitions.extend(partitions);
                    self.gather.flush(&self.pipeline);
                }
                Notice::Ended { partition } => {
                    tracing::info!(partition, "assignment ended");
                    self.to_commit.remove(&partition);
                    self.moved.remove(&partition);
                    self.tell(partition, Input::Ended);
                }
            }
        }
        let assigned = self.trackers.values().filter(|tracker| tracker.epoch().is_some()).count();
        self.metrics.assigned.set(gauge(assigned));
        Ok(())
    }

    /// Gives back what the group wants back, once all that was read of it is committed or the
    /// group has waited long enough.
    fn release(&mut self) -> Result<(), ServerError> {
        let Some(Leaving { partitions, until }) = &self.leaving else { return Ok(()) };
        let settled = |partition| self.trackers.get(partition).is_none_or(Tracker::is_settled);
        let done = !self.gather.is_flushing() && partitions.iter().all(settled);
        if !done && Instant::now() < *until {
            return Ok(());
        }
        self.log.release(partitions)?;
        self.leaving = None;
        self.hear()
    }

    fn gauge(&self) {
        let set = |metric: &prometheus_client::metrics::gauge::Gauge, value: usize| {
            metric.set(gauge(value));
        };
        set(&self.metrics.gathered, self.gather.records());
        set(&self.metrics.gathered_bytes, self.gather.bytes());
        set(&self.metrics.in_flight, self.sizes.len());
        set(&self.metrics.in_flight_bytes, self.sizes.values().sum());
    }

    fn complain(&mut self, stage: &'static str, error: ServerError) -> Result<(), ServerError> {
        if error.class == ErrorClass::Fatal {
            return Err(error);
        }
        self.metrics.retry(stage, error.code);
        if self.complained.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(stage, code = error.code, %error, "waiting, and trying again");
        }
        Ok(())
    }
}

fn say(partition: i32, start: Start) {
    let position = start.position;
    match start.reason {
        Reason::FirstRead | Reason::Resumed | Reason::Moved => {
            tracing::info!(partition, position, reason = ?start.reason, "assigned");
        }
        Reason::Expired { lost } => {
            let code = "records_expired";
            tracing::error!(
                code,
                partition,
                position,
                lost,
                "records were lost to retention before they were read"
            );
        }
        Reason::BeyondEnd => {
            let code = "position_beyond_end";
            tracing::error!(
                code,
                partition,
                position,
                "the committed position is beyond the log's end: the topic was made anew; reading it from its start"
            );
        }
    }
}

fn panicked(error: JoinError) -> ServerError {
    ServerError::fatal("task_panicked", error)
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
