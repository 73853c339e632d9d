//! The loop: turns the trackers' actions into I/O and tells them what came of it.
//!
//! Some batches are on their way while the next is gathered; when that one is full and no more may
//! start, partitions are paused and polling goes on. All `select!` is here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorClass, ServerError};
use crate::flow::{Action, Batch, BatchId, Input, Limits, Reason, Start, Tracker};
use crate::kafka::{Consumer, Notice, Positions};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;

/// How the loop paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What one batch may hold.
    pub limits: Limits,
    /// Batches being inserted at once; one more is gathered meanwhile.
    pub inserts_max: usize,
    /// How long a record waits for company.
    pub linger: Duration,
    /// How long a stop may take to finish what was read.
    pub drain: Duration,
}

/// Often enough to notice a failed assignment and to repeat a refused commit soon.
const BEAT: Duration = Duration::from_secs(1);
/// How often the broker is asked which positions it holds.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// An outage of the broker makes one line in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What the broker was asked about positions, one question at a time.
#[derive(Debug)]
enum Answer {
    Committed(Positions, Result<(), ServerError>),
    Found(Result<Positions, ServerError>),
}

/// The loop's state.
#[derive(Debug)]
pub struct Driver {
    consumer: Arc<Consumer>,
    pipeline: Arc<Pipeline>,
    metrics: Metrics,
    pace: Pace,
    trackers: BTreeMap<i32, Tracker>,
    gathered: Batch,
    /// When the first record of `gathered` came.
    since: Option<Instant>,
    batches: BatchId,
    in_flight: JoinSet<Result<BatchId, ServerError>>,
    /// Bytes of each batch in flight.
    sizes: BTreeMap<BatchId, usize>,
    to_commit: Positions,
    /// Where partitions are to be read from that somebody moved.
    moved: BTreeMap<i32, i64>,
    /// At most one task.
    asking: JoinSet<Answer>,
    looked: Instant,
    paused: bool,
    complained: Option<Instant>,
}

impl Driver {
    /// A loop that has read nothing yet.
    pub fn new(consumer: Consumer, pipeline: Pipeline, pace: Pace) -> Self {
        Self {
            consumer: Arc::new(consumer),
            metrics: pipeline.metrics.clone(),
            pipeline: Arc::new(pipeline),
            pace,
            trackers: BTreeMap::new(),
            gathered: Batch::default(),
            since: None,
            batches: 0,
            in_flight: JoinSet::new(),
            sizes: BTreeMap::new(),
            to_commit: Positions::new(),
            moved: BTreeMap::new(),
            asking: JoinSet::new(),
            looked: Instant::now(),
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
            let linger_ends = self.since.map(|since| since + self.pace.linger);
            let room = self.has_room();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = beat.tick() => self.beat()?,
                Some(landed) = self.in_flight.join_next() => self.landed(landed)?,
                Some(answer) = self.asking.join_next() => self.answered(answer)?,
                () = at(linger_ends), if room => self.hand_over()?,
                filled = self.consumer.fill(&mut self.gathered, self.pace.limits) => {
                    self.filled(filled)?;
                }
            }
        }
        let drain = self.pace.drain;
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
        self.hand_over()?;
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let settled = self.trackers.values().all(Tracker::is_settled);
            if settled && self.in_flight.is_empty() && self.asking.is_empty() {
                return Ok(());
            }
            tokio::select! {
                _ = beat.tick() => self.beat()?,
                Some(landed) = self.in_flight.join_next() => self.landed(landed)?,
                Some(answer) = self.asking.join_next() => self.answered(answer)?,
            }
        }
    }

    /// Whether another batch may start. One that only waits for the breaker leaves its place to
    /// the next, within the bound of memory.
    fn has_room(&self) -> bool {
        let held = self.pipeline.held.load(Ordering::Relaxed);
        let bytes: usize = self.sizes.values().sum();
        self.in_flight.len().saturating_sub(held) < self.pace.inserts_max
            && bytes < self.pace.inserts_max * self.pace.limits.bytes_max
    }

    fn filled(&mut self, filled: Result<(), ServerError>) -> Result<(), ServerError> {
        if let Err(error) = filled {
            return self.complain("read", error);
        }
        if self.since.is_none() && !self.gathered.is_empty() {
            self.since = Some(Instant::now());
        }
        self.gauge();
        self.hand_over_when_full()
    }

    fn hand_over_when_full(&mut self) -> Result<(), ServerError> {
        if !self.gathered.is_full(self.pace.limits) {
            return Ok(());
        }
        if self.has_room() {
            return self.hand_over();
        }
        // Also when paused already: a partition may have been assigned since.
        self.paused = true;
        self.consumer.pause()
    }

    /// Sends the gathered batch on its way.
    fn hand_over(&mut self) -> Result<(), ServerError> {
        // What was read under an assignment is told after its beginning and its end.
        self.hear()?;
        let batch = std::mem::take(&mut self.gathered);
        self.since = None;
        if self.paused {
            self.paused = false;
            self.consumer.resume()?;
        }
        self.gauge();
        if batch.is_empty() {
            return Ok(());
        }
        self.batches += 1;
        let id = self.batches;
        for (&partition, span) in batch.spans() {
            let (epoch, first, next) = (span.epoch, span.first, span.next);
            self.tell(partition, Input::Sent { batch: id, epoch, first, next })?;
        }
        self.metrics.records.inc_by(batch.rows() as u64);
        self.sizes.insert(id, batch.bytes());
        self.gauge();
        let pipeline = Arc::clone(&self.pipeline);
        self.in_flight.spawn(async move { pipeline.process(batch).await.map(|()| id) });
        Ok(())
    }

    fn landed(
        &mut self,
        landed: Result<Result<BatchId, ServerError>, JoinError>,
    ) -> Result<(), ServerError> {
        let batch = landed.map_err(panicked)??;
        self.sizes.remove(&batch);
        self.gauge();
        self.tell_all(Input::Durable { batch })?;
        self.hand_over_when_full()
    }

    fn tell_all(&mut self, input: Input) -> Result<(), ServerError> {
        let partitions: Vec<i32> = self.trackers.keys().copied().collect();
        partitions.into_iter().try_for_each(|partition| self.tell(partition, input))?;
        self.ask();
        Ok(())
    }

    fn tell(&mut self, partition: i32, input: Input) -> Result<(), ServerError> {
        for action in self.trackers.entry(partition).or_default().step(input) {
            match action {
                Action::Commit { epoch, position } => {
                    self.to_commit.insert(partition, (epoch, position));
                }
                Action::JumpedBack { from, to } => {
                    self.metrics.jumps.inc();
                    let code = "position_jumped_back";
                    tracing::error!(
                        code,
                        partition,
                        from,
                        to,
                        "the log was cut or made anew while it was read"
                    );
                }
                Action::Moved { ours, theirs } => {
                    self.metrics.jumps.inc();
                    let code = "position_moved";
                    tracing::warn!(
                        code,
                        partition,
                        ours,
                        theirs,
                        "the committed position was moved by somebody else; reading on from there"
                    );
                    self.to_commit.remove(&partition);
                    self.moved.insert(partition, theirs);
                }
            }
        }
        Ok(())
    }

    /// Asks the broker what is to be asked: commits first, else, now and then, what it holds.
    fn ask(&mut self) {
        if !self.asking.is_empty() {
            return;
        }
        let consumer = Arc::clone(&self.consumer);
        if !self.to_commit.is_empty() {
            let positions = std::mem::take(&mut self.to_commit);
            self.asking.spawn_blocking(move || {
                let outcome = consumer.commit(&positions);
                Answer::Committed(positions, outcome)
            });
        } else if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.asking.spawn_blocking(move || Answer::Found(consumer.committed()));
        }
    }

    fn answered(&mut self, answer: Result<Answer, JoinError>) -> Result<(), ServerError> {
        match answer.map_err(panicked)? {
            Answer::Committed(positions, Ok(())) => {
                self.metrics.commits.inc();
                for (partition, (epoch, position)) in positions {
                    self.tell(partition, Input::Acknowledged { epoch, position })?;
                }
            }
            Answer::Committed(positions, Err(error)) => {
                for (partition, (epoch, _)) in positions {
                    self.tell(partition, Input::Refused { epoch })?;
                }
                self.complain("commit", error)?;
            }
            Answer::Found(Ok(positions)) => {
                for (partition, (epoch, position)) in positions {
                    self.tell(partition, Input::Found { epoch, position })?;
                }
            }
            Answer::Found(Err(error)) => self.complain("look", error)?,
        }
        self.hear()?;
        self.ask();
        Ok(())
    }

    fn beat(&mut self) -> Result<(), ServerError> {
        self.hear()?;
        self.follow()?;
        self.tell_all(Input::Beat)
    }

    /// Reads on from where somebody moved a position to; again at the next beat if it fails.
    fn follow(&mut self) -> Result<(), ServerError> {
        for (partition, position) in std::mem::take(&mut self.moved) {
            if let Err(error) = self.consumer.read_from(partition, position) {
                self.moved.insert(partition, position);
                self.complain("seek", error)?;
            }
        }
        self.hear()
    }

    /// Takes in what happened to the assignment, and tells the operator.
    fn hear(&mut self) -> Result<(), ServerError> {
        for notice in self.consumer.notices()? {
            match notice {
                Notice::Assigned { partition, epoch, start, committed } => {
                    self.metrics.lost.inc_by(start.lost().unsigned_abs());
                    say(partition, start);
                    let position = start.position;
                    self.tell(partition, Input::Assigned { epoch, position, committed })?;
                }
                Notice::Ended { partition } => {
                    tracing::info!(partition, "assignment ended");
                    self.to_commit.remove(&partition);
                    self.moved.remove(&partition);
                    self.tell(partition, Input::Ended)?;
                }
            }
        }
        let assigned = self.trackers.values().filter(|tracker| tracker.epoch().is_some()).count();
        self.metrics.assigned.set(i64::try_from(assigned).unwrap_or(i64::MAX));
        Ok(())
    }

    fn gauge(&self) {
        self.metrics.gathered.set(i64::try_from(self.gathered.rows()).unwrap_or(i64::MAX));
        self.metrics.gathered_bytes.set(i64::try_from(self.gathered.bytes()).unwrap_or(i64::MAX));
        let bytes: usize = self.sizes.values().sum();
        self.metrics.in_flight.set(i64::try_from(self.sizes.len()).unwrap_or(i64::MAX));
        self.metrics.in_flight_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
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
