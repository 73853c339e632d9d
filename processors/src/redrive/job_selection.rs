//! The dead letters that a job selected and has neither sent nor skipped, in batches.

use std::collections::VecDeque;

use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::SelectedLetter;

use crate::clickhouse::redrive_queries::{SelectedItem, items_of_job, letters_of};
use crate::redrive::redrive_batch::{BATCH_RECORDS, RedriveBatch};
use crate::redrive::redriver::{Preparation, Sender};
use crate::redrive::server_attempts::Interrupt;

/// What is left of a job.
#[derive(Debug)]
pub(crate) struct JobSelection {
    job: String,
    /// The last origin that was read.
    after: Option<Origin>,
    /// Those whose dead letters were not read.
    items: VecDeque<SelectedItem>,
    /// Those that were read and are in no batch yet.
    read: VecDeque<SelectedLetter>,
    /// No origin follows.
    is_complete: bool,
}

impl JobSelection {
    /// All that is left of a job.
    pub(crate) fn new(job: String) -> Self {
        let (items, read) = (VecDeque::new(), VecDeque::new());
        Self { job, after: None, items, read, is_complete: false }
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
            self.read_items(sender).await?;
            let items: Vec<_> = self.items.iter().take(records_max).cloned().collect();
            if items.is_empty() {
                return Ok(None);
            }
            let letters = async || letters_of(server, &items).await;
            self.read = attempts.until_ok("dead_letters", letters).await?.into();
            self.items.drain(..items.len());
        }
        preparation.prepare(&mut self.read, records_max).await.map(Some)
    }

    /// Reads the next origins, if none is left of those that were read.
    async fn read_items(&mut self, sender: &Sender) -> Result<(), Interrupt> {
        if self.is_complete || !self.items.is_empty() {
            return Ok(());
        }
        let (job, after) = (self.job.as_str(), self.after.as_ref());
        let items = async || items_of_job(&sender.server, job, after).await;
        self.items = sender.attempts.until_ok("dead_letter_events", items).await?.into();
        match self.items.back() {
            Some(last) => self.after = Some(last.origin.clone()),
            None => self.is_complete = true,
        }
        Ok(())
    }
}
