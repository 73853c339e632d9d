//! The loop: reads, gathers, hands batches over, and keeps the membership alive meanwhile.
//!
//! One batch is on its way while the next is gathered; when that one is full too,
//! partitions are paused and polling goes on. All `select!` is here.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorClass, ServerError};
use crate::flow::{Batch, Limits, Reason};
use crate::kafka::{Consumer, Notice};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::retry::until_done;

/// How the loop paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What one batch may hold; two may be in memory.
    pub limits: Limits,
    /// How long a record waits for company.
    pub linger: Duration,
    /// How long a stop may take to finish what was read.
    pub drain: Duration,
}

/// Often enough to notice a failed assignment soon.
const BEAT: Duration = Duration::from_secs(1);
/// An outage of the broker makes one line in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The loop's state.
#[derive(Debug)]
pub struct Driver {
    consumer: Arc<Consumer>,
    pipeline: Arc<Pipeline>,
    metrics: Metrics,
    pace: Pace,
    gathered: Batch,
    /// When the first record of `gathered` came.
    since: Option<Instant>,
    /// At most one task: a batch until its positions are committed.
    in_flight: JoinSet<Result<(), ServerError>>,
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
            gathered: Batch::default(),
            since: None,
            in_flight: JoinSet::new(),
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
            let free = self.in_flight.is_empty();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = beat.tick() => self.hear()?,
                Some(done) = self.in_flight.join_next() => self.landed(done)?,
                () = at(linger_ends), if free => self.hand_over()?,
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
                    "stopped after {} s with records read and not committed; they are read \
                         again",
                    drain.as_secs()
                ),
            )),
        }
    }

    async fn drain(&mut self) -> Result<(), ServerError> {
        while let Some(done) = self.in_flight.join_next().await {
            self.landed(done)?;
        }
        self.hand_over()?;
        while let Some(done) = self.in_flight.join_next().await {
            self.landed(done)?;
        }
        Ok(())
    }

    fn filled(&mut self, filled: Result<(), ServerError>) -> Result<(), ServerError> {
        if let Err(error) = filled {
            return self.complain(error);
        }
        if self.since.is_none() && !self.gathered.is_empty() {
            self.since = Some(Instant::now());
        }
        self.gauge();
        if !self.gathered.is_full(self.pace.limits) {
            return Ok(());
        }
        if self.in_flight.is_empty() {
            return self.hand_over();
        }
        // Also when paused already: a partition may have been assigned since.
        self.paused = true;
        self.consumer.pause()
    }

    fn landed(
        &mut self,
        done: Result<Result<(), ServerError>, JoinError>,
    ) -> Result<(), ServerError> {
        match done {
            Ok(outcome) => outcome?,
            Err(panicked) => return Err(ServerError::fatal("task_panicked", panicked)),
        }
        if self.gathered.is_full(self.pace.limits) {
            return self.hand_over();
        }
        Ok(())
    }

    /// Sends the gathered batch on its way: durable first, committed then.
    fn hand_over(&mut self) -> Result<(), ServerError> {
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
        self.metrics.records.inc_by(batch.rows() as u64);
        let (pipeline, consumer) = (Arc::clone(&self.pipeline), Arc::clone(&self.consumer));
        let metrics = self.metrics.clone();
        self.in_flight.spawn(async move {
            let spans = Arc::new(pipeline.process(batch).await?);
            until_done!("commit", &metrics, {
                let (consumer, spans) = (Arc::clone(&consumer), Arc::clone(&spans));
                async {
                    tokio::task::spawn_blocking(move || consumer.commit(&spans))
                        .await
                        .map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
                }
            });
            metrics.commits.inc();
            Ok(())
        });
        Ok(())
    }

    fn gauge(&self) {
        self.metrics.gathered.set(i64::try_from(self.gathered.rows()).unwrap_or(i64::MAX));
        self.metrics.gathered_bytes.set(i64::try_from(self.gathered.bytes()).unwrap_or(i64::MAX));
    }

    /// Tells what happened to the assignment.
    fn hear(&mut self) -> Result<(), ServerError> {
        for notice in self.consumer.notices()? {
            self.metrics.lost.inc_by(notice.lost().unsigned_abs());
            match notice {
                Notice::Assigned { partition, start } => {
                    let position = start.position;
                    match start.reason {
                        Reason::FirstRead | Reason::Resumed => {
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
                Notice::Ended { partition } => tracing::info!(partition, "assignment ended"),
            }
        }
        let assigned = self.consumer.assigned();
        self.metrics.assigned.set(i64::try_from(assigned).unwrap_or(i64::MAX));
        Ok(())
    }

    fn complain(&mut self, error: ServerError) -> Result<(), ServerError> {
        if error.class == ErrorClass::Fatal {
            return Err(error);
        }
        self.metrics.retry("read", error.code);
        if self.complained.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(code = error.code, %error, "reading is held up; the client tries again");
        }
        Ok(())
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
