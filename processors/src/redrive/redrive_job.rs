//! Runs a redrive as a job: page by page, batch by batch, until everything is sent or the job is stopped.
#![expect(clippy::disallowed_methods, reason = "the rate limit is by the time of this process")]

use std::pin::pin;
use std::time::Duration;

use broker::ServerError;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::redrive_counts::counts_of_job;
use crate::clickhouse::redrive_queries::{page_of_job, select};
use crate::clickhouse::server::Server;
use crate::dead_letters::redrive_decision::SelectedLetter;
use crate::jobs::job::JobState;
use crate::jobs::job_request::JobRequest;
use crate::jobs::running_job::RunningJob;
use crate::redrive::progress_bar::ProgressBar;
use crate::redrive::rate_limit::RateLimit;
use crate::redrive::redriver::{Preparation, Sender};
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};
use crate::redrive::tally::Tally;

/// Records of a batch.
const BATCH_RECORDS: usize = 500;
/// Bytes of their values, unless one record alone is larger.
const BATCH_BYTES: u64 = 8 << 20;
/// The count of a job that is set once its selection is complete.
const SELECTED: &str = "selected";

/// A job that this process runs, with what its operators change meanwhile.
#[derive(Debug)]
pub(crate) struct RedriveJob {
    job: RunningJob,
    stop: CancellationToken,
    ticks: Interval,
    rate: RateLimit,
    /// ClickHouse has the last report. If it has not, another process may resume the job, and nothing is
    /// sent.
    is_reported: bool,
    /// An error of the job itself.
    failed: Option<ServerError>,
}

impl RedriveJob {
    /// `stop` stops the redrive; an operator who cancels the job cancels it.
    pub(crate) fn new(job: RunningJob, stop: CancellationToken, rate: Option<u32>) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rate = RateLimit::new(rate);
        Self { job, stop, ticks, rate, is_reported: true, failed: None }
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
        let sent = self.send_pages(preparation, sender, &mut progress).await;
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

    async fn send_pages(
        &mut self,
        preparation: &mut Preparation,
        sender: &Sender,
        progress: &mut ProgressBar,
    ) -> Result<(), Interrupt> {
        let (server, id, attempts): (&Server, _, _) =
            (&sender.server, self.id(), sender.attempts.clone());
        let mut after = None;
        loop {
            let page = async || page_of_job(server, &id, after.as_ref()).await;
            let page = self.beside(attempts.until_ok("dead_letters", page)).await?;
            let Some(last) = page.last else { return Ok(()) };
            let mut rest = page.letters.as_slice();
            while !rest.is_empty() {
                let (batch, others) = rest.split_at(batch_length(rest, &self.rate));
                rest = others;
                self.until_due(batch.len()).await?;
                let work = async {
                    let prepared = preparation.prepare(batch).await?;
                    sender.send(batch, prepared).await
                };
                let tally = self.beside(work).await?;
                self.count(&tally);
                progress.add(batch.len());
            }
            after = Some(last);
        }
    }

    /// Waits until the rate allows a batch, and ClickHouse has the job.
    async fn until_due(&mut self, records: usize) -> Result<(), Interrupt> {
        loop {
            // The rate may change meanwhile.
            let delay = self.rate.delay(Instant::now()).min(Duration::from_secs(1));
            let stop = self.stop.clone();
            if !delay.is_zero() {
                self.beside(stop.run_until_cancelled(tokio::time::sleep(delay))).await;
            } else if !self.is_reported {
                self.tick().await;
                let pause = tokio::time::sleep(Duration::from_secs(1));
                stop.run_until_cancelled(pause).await;
            } else {
                self.rate.take(records, Instant::now());
                return if stop.is_cancelled() { Err(Interrupt::Stopped) } else { Ok(()) };
            }
            if stop.is_cancelled() {
                return Err(Interrupt::Stopped);
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
                self.is_reported = true;
                match request {
                    JobRequest::None => {}
                    JobRequest::Cancel => self.stop.cancel(),
                    JobRequest::Rate(rate) => {
                        tracing::info!(rate, "the rate of the redrive was changed");
                        self.rate.set(rate);
                    }
                }
            }
            Err(error) if error.is_retryable() => self.is_reported = false,
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

/// How many of the next records are a batch, at least one.
fn batch_length(letters: &[SelectedLetter], rate: &RateLimit) -> usize {
    let mut bytes = 0_u64;
    let within = letters.iter().take_while(|letter| {
        bytes = bytes.saturating_add(letter.value_bytes);
        bytes <= BATCH_BYTES
    });
    within.count().clamp(1, rate.batch_max(BATCH_RECORDS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::redrive_decision::tests::letter;
    use crate::dead_letters::state::DeadLetterState;

    #[test]
    fn a_batch_is_bounded_by_records_bytes_and_rate_and_has_at_least_one() {
        let letters = |bytes: &[u64]| -> Vec<_> {
            let of = |value_bytes| SelectedLetter { value_bytes, ..letter(DeadLetterState::Open) };
            bytes.iter().copied().map(of).collect()
        };
        let mib = 1 << 20;
        for (bytes, rate, expected) in [
            (vec![10; 700], None, 500),
            (vec![10; 500], Some(30), 30),
            (vec![10; 500], Some(1), 1),
            (vec![10; 7], Some(1000), 7),
            (vec![mib; 500], None, 8),
            (vec![20 * mib, 1, 1], None, 1),
            (vec![1, 20 * mib, 1], None, 1),
        ] {
            let rate = RateLimit::new(rate);
            assert_eq!(batch_length(&letters(&bytes), &rate), expected);
        }
    }
}
