//! Runs a redrive as a job: batch by batch, until everything is sent or the job is stopped.

use std::pin::pin;
use std::time::Duration;

use broker::ServerError;
use futures_util::future::try_join;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::redrive_counts::counts_of_job;
use crate::clickhouse::redrive_queries::select;
use crate::clickhouse::server::Server;
use crate::jobs::job::JobState;
use crate::jobs::job_request::JobRequest;
use crate::jobs::running_job::RunningJob;
use crate::redrive::job_selection::JobSelection;
use crate::redrive::progress_bar::ProgressBar;
use crate::redrive::redrive_batch::RedriveBatch;
use crate::redrive::redriver::{Preparation, Sender};
use crate::redrive::send_limit::SendLimit;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};
use crate::redrive::tally::Tally;

/// The count of a job that is set once its selection is complete.
pub(super) const SELECTED: &str = "selected";

/// A job that this process runs, with what its operators change meanwhile.
#[derive(Debug)]
pub(crate) struct RedriveJob {
    job: RunningJob,
    stop: CancellationToken,
    ticks: Interval,
    limit: SendLimit,
    /// An error of the job itself.
    failed: Option<ServerError>,
}

impl RedriveJob {
    /// `stop` stops the redrive; an operator who cancels the job cancels it. The job sets `limit`.
    pub(crate) fn new(job: RunningJob, stop: CancellationToken, limit: SendLimit) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { job, stop, ticks, limit, failed: None }
    }

    /// The id.
    pub(crate) fn id(&self) -> String {
        self.job.job().id.clone()
    }

    /// Selects the dead letters, unless the job has done so, and sends their copies. Returns how many the
    /// job has selected, and what became of them.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error.
    pub(crate) async fn run(
        &mut self,
        preparation: &mut Preparation,
        sender: &Sender,
    ) -> Result<(u64, Tally), Interrupt> {
        let attempts = sender.attempts.clone();
        let (server, id) = (sender.server.clone(), self.id());
        let selected = match self.job.job().counts.get(SELECTED) {
            Some(selected) => *selected,
            None => {
                let select = async || select(&server, &id, &sender.plan).await;
                self.beside(attempts.until_ok("selection", select)).await?
            }
        };
        self.job.count(SELECTED, selected);
        self.start(&attempts).await?;
        // Another process may have done a part.
        let before = self.tally(&server, &attempts).await?;
        self.set_counts(&before);
        let mut progress = ProgressBar::new(selected, &before);
        let sent = self.send_batches(preparation, sender, &mut progress).await;
        progress.clear();
        sent?;
        Ok((selected, self.tally(&server, &attempts).await?))
    }

    /// What the job did, by its events.
    async fn tally(
        &mut self,
        server: &Server,
        attempts: &ServerAttempts,
    ) -> Result<Tally, Interrupt> {
        let id = self.id();
        let counts = async || counts_of_job(server, &id).await;
        Ok(Tally::of_job(&self.beside(attempts.until_ok("counts", counts)).await?))
    }

    async fn start(&mut self, attempts: &ServerAttempts) -> Result<(), Interrupt> {
        let job = &mut self.job;
        attempts.until_ok("jobs", async || job.running().await).await
    }

    /// Prepares, announces and sends batch after batch. While the copies of one are sent, the next one is
    /// announced, and the one after it is prepared.
    async fn send_batches(
        &mut self,
        preparation: &mut Preparation,
        sender: &Sender,
        progress: &mut ProgressBar,
    ) -> Result<(), Interrupt> {
        let mut selection = JobSelection::new(self.id());
        let (mut announced, mut prepared) = (None, None);
        loop {
            let batch: Option<RedriveBatch> = announced.take();
            let next: Option<RedriveBatch> = prepared.take();
            let mut behind = pin!(try_join(
                async {
                    match next {
                        Some(next) => sender.announce(next).await.map(Some),
                        None => Ok(None),
                    }
                },
                selection.next(preparation, sender),
            ));
            let mut done = None;
            if let Some(batch) = batch {
                let sending = async {
                    let mut sending = pin!(sender.send(&batch));
                    loop {
                        tokio::select! {
                            sent = &mut sending => return sent,
                            own = &mut behind, if done.is_none() => done = Some(own),
                        }
                    }
                };
                let (tally, ended) = self.beside(sending).await?;
                self.count(&tally);
                progress.add(tally.sent + tally.not_sent());
                ended?;
            }
            let done = match done {
                Some(done) => done,
                None => self.beside(behind).await,
            };
            (announced, prepared) = done?;
            if announced.is_none() && prepared.is_none() {
                return Ok(());
            }
        }
    }

    fn count(&mut self, tally: &Tally) {
        for (name, count) in tally.counts() {
            let before = self.job.job().counts.get(name).copied().unwrap_or_default();
            self.job.count(name, before + count);
        }
    }

    fn set_counts(&mut self, tally: &Tally) {
        for (name, count) in tally.counts() {
            self.job.count(name, count);
        }
    }

    /// Does `work`, and reports the job each second meanwhile.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = self.ticks.tick() => self.tick().await,
            }
        }
    }

    async fn tick(&mut self) {
        match self.job.tick().await {
            Ok(request) => {
                self.limit.set_reported(true);
                match request {
                    JobRequest::None => {}
                    JobRequest::Cancel => self.stop.cancel(),
                    JobRequest::Rate(rate) => {
                        tracing::info!(rate, "the rate of the redrive was changed");
                        self.limit.set_rate(rate);
                    }
                }
            }
            Err(error) if error.is_retryable() => self.limit.set_reported(false),
            Err(error) => {
                self.failed = Some(error);
                self.stop.cancel();
            }
        }
    }

    /// Stores how the job ended, with its counts by its events. Returns an error of the job itself, if it
    /// stopped the redrive.
    ///
    /// # Errors
    /// Another process took over the job, or ClickHouse does not answer.
    pub(crate) async fn end(
        &mut self,
        state: JobState,
        message: &str,
        tally: Option<&Tally>,
    ) -> Result<(), ServerError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        if let Some(tally) = tally {
            self.set_counts(tally);
        }
        self.job.end(state, message).await
    }
}
