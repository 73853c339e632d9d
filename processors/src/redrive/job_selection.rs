//! The dead letters that a job selected and has neither sent nor skipped, in batches.

use std::collections::VecDeque;

use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::SelectedLetter;

use crate::clickhouse::redrive_queries::page_of_job;
use crate::redrive::redrive_batch::{BATCH_RECORDS, RedriveBatch};
use crate::redrive::redriver::{Preparation, Sender};
use crate::redrive::server_attempts::Interrupt;

/// What is left of a job.
#[derive(Debug)]
pub(crate) struct JobSelection {
    job: String,
    /// The last origin that was read.
    after: Option<Origin>,
    /// Those that were read and are in no batch yet.
    read: VecDeque<SelectedLetter>,
}

impl JobSelection {
    /// All that is left of a job.
    pub(crate) fn new(job: String) -> Self {
        Self { job, after: None, read: VecDeque::new() }
    }

    /// Prepares the next batch, which takes ten seconds at most at the rate of the job; `None`: nothing is
    /// left.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server.
    pub(crate) async fn next(
        &mut self,
        preparation: &mut Preparation,
        sender: &Sender,
    ) -> Result<Option<RedriveBatch>, Interrupt> {
        let Sender { server, limit, attempts, .. } = sender;
        limit.until_reported(attempts).await?;
        let records_max = limit.batch_max(BATCH_RECORDS);
        while self.read.is_empty() {
            let (job, after) = (self.job.as_str(), self.after.as_ref());
            let page = async || page_of_job(server, job, after, records_max).await;
            let page = attempts.until_ok("dead_letters", page).await?;
            let Some(last) = page.last else { return Ok(None) };
            self.after = Some(last);
            self.read = page.letters.into();
        }
        preparation.prepare(&mut self.read, records_max).await.map(Some)
    }
}
