//! Prepares and sends batches of a redrive.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use broker::{ErrorClass, ServerError};
use futures_util::future::join_all;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{Admission, Mode, NotSent, SelectedLetter};
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::redriven_copy::{CopyFacts, RecordBytes};

use crate::clickhouse::dead_letter_events::add_events;
use crate::clickhouse::dead_letter_repairs::add_repairs;
use crate::clickhouse::first_announcements::{SETTLE, first_announcements};
use crate::clickhouse::newest_changes::newest_changes;
use crate::clickhouse::server::Server;
use crate::kafka::redrive_writer::RedriveWriter;
use crate::redrive::judge::{Judge, JudgedRecord};
use crate::redrive::record_source::{RecordSource, SourceRecord};
use crate::redrive::redrive_batch::{
    CopyResult, EventFacts, Prepared, PreparedCopy, RedriveBatch, batch_length,
};
use crate::redrive::send_limit::SendLimit;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts, timed};
use crate::redrive::tally::Tally;

/// Decides about selected dead letters and makes their copies; sends and writes nothing.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) mode: Mode,
    pub(crate) source: RecordSource,
    pub(crate) judge: Judge,
}

impl Preparation {
    /// What to do with each of the first of `letters`, which it removes: as many as the bytes of a batch
    /// allow, and at least one.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server.
    pub(crate) async fn prepare(
        &mut self,
        letters: &mut VecDeque<SelectedLetter>,
        records_max: usize,
    ) -> Result<RedriveBatch, Interrupt> {
        let length = batch_length(letters.iter(), records_max).min(letters.len());
        let taken: Vec<_> = letters.drain(..length).collect();
        let admissions: Vec<_> = taken.iter().map(|own| own.admission(self.mode)).collect();
        let is_read = |admission: &Admission| match admission {
            Admission::Judge(_) | Admission::Repeat(_) => true,
            Admission::Arrived(_) | Admission::NotSent(_) => false,
        };
        let both = taken.iter().zip(&admissions);
        let read: Vec<_> = both.filter(|(_, own)| is_read(own)).map(|(own, _)| own).collect();
        let mut lost = HashMap::new();
        let mut found: Vec<(&Origin, SourceRecord)> = Vec::with_capacity(read.len());
        for (letter, source) in read.iter().zip(self.source.read(&read).await?) {
            match source {
                Ok(record) => found.push((&letter.origin, record)),
                Err(not_sent) => drop(lost.insert(&letter.origin, not_sent)),
            }
        }
        let origins: Vec<_> = found.iter().map(|(origin, _)| *origin).collect();
        let judged = self.judge.judge(found).await?;
        let mut judged: HashMap<_, _> = origins.into_iter().zip(judged).collect();
        let force = self.mode.force;
        let prepared = taken.iter().zip(admissions).map(|(letter, admission)| {
            let (number, is_announced) = match admission {
                Admission::Judge(number) => (number, false),
                Admission::Repeat(number) => (number, true),
                Admission::Arrived(number) => return Some(Prepared::Arrived(number)),
                Admission::NotSent(not_sent) => return Some(Prepared::NotSent(not_sent)),
            };
            if let Some(not_sent) = lost.remove(&letter.origin) {
                return Some(Prepared::NotSent(not_sent));
            }
            let record = judged.remove(&letter.origin)?;
            Some(prepared(letter, record, Number { number, is_announced, force }))
        });
        let prepared: Vec<_> = prepared.collect();
        let (mut batch, mut unread) = (RedriveBatch::default(), Vec::new());
        for (letter, own) in taken.into_iter().zip(prepared) {
            match own {
                Some(own) => batch.0.push((letter, own)),
                // The bytes of a batch are reached.
                None => unread.push(letter),
            }
        }
        unread.into_iter().rev().for_each(|letter| letters.push_front(letter));
        Ok(batch)
    }
}

#[derive(Debug, Clone, Copy)]
struct Number {
    number: u32,
    is_announced: bool,
    /// Also a copy that would fail is sent.
    force: bool,
}

fn prepared(letter: &SelectedLetter, record: JudgedRecord, number: Number) -> Prepared {
    let Number { number, is_announced, force } = number;
    let JudgedRecord { bytes, left_out, verdict, repair, unrepaired } = record;
    if let Err(error) = &verdict
        && !force
        && !is_announced
    {
        return Prepared::NotSent(NotSent::would_fail(error, unrepaired));
    }
    let SelectedLetter { origin, first_failed_at_ms, .. } = letter;
    let facts = CopyFacts { origin, number, first_failed_at_ms: *first_failed_at_ms };
    let fails = verdict.as_ref().err().map(|error| error.code().to_owned());
    let bytes = bytes.into_copy(facts);
    Prepared::Send(PreparedCopy {
        number,
        is_announced,
        bytes,
        left_out,
        key_facts: verdict.ok(),
        repair,
        fails,
        unrepaired,
    })
}

/// Sends prepared copies, and writes the events of a job.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) server: Server,
    pub(crate) writer: RedriveWriter,
    pub(crate) plan: RedrivePlan,
    pub(crate) job: String,
    pub(crate) attempts: ServerAttempts,
    pub(crate) limit: SendLimit,
}

impl Sender {
    fn facts(&self) -> EventFacts<'_> {
        EventFacts { job: &self.job, plan: &self.plan }
    }

    /// Announces the copies of a batch: stores their repairs and `pending` events. Leaves out the copies of
    /// dead letters that another command changed after the batch was read, and those that another job
    /// announced first.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server. A job that is resumed sends, under the same
    /// numbers, what was announced.
    pub(crate) async fn announce(
        &self,
        mut batch: RedriveBatch,
    ) -> Result<RedriveBatch, Interrupt> {
        self.limit.until_reported(&self.attempts).await?;
        let (server, actor) = (&self.server, self.plan.actor.as_str());
        let repairs = batch.repairs();
        if !repairs.is_empty() {
            let add = async || add_repairs(server, &repairs, actor).await;
            self.attempts.until_ok("dead_letter_repairs", add).await?;
        }
        if !self.plan.changes_states() || batch.origins().is_empty() {
            return Ok(batch);
        }
        let in_time = self.add_announcements(&mut batch).await?;
        let origins = batch.origins();
        if origins.is_empty() {
            return Ok(batch);
        }
        self.attempts.pause(SETTLE).await?;
        let read = async || first_announcements(server, &origins).await;
        let announced = self.attempts.until_ok("dead_letter_events", read).await?;
        batch.keep_own(&announced, &self.job, in_time);
        Ok(batch)
    }

    /// Leaves out the copies of dead letters that another command changed meanwhile, and stores the `pending`
    /// events of the others. Returns whether the server acknowledged them within [`SETTLE`] at the first
    /// attempt: one that failed may have an effect later.
    ///
    /// Each attempt reads the changes again, and none is made while ClickHouse does not have the last report
    /// of the job: another process may then have the job, and decisions may be newer.
    async fn add_announcements(&self, batch: &mut RedriveBatch) -> Result<bool, Interrupt> {
        let mut tries = 0_u32;
        loop {
            self.limit.until_reported(&self.attempts).await?;
            let added = self.attempts.until_ok("dead_letter_events", async || {
                if !self.limit.is_reported() {
                    return Ok(None);
                }
                let origins = batch.origins();
                if origins.is_empty() {
                    return Ok(Some(Duration::ZERO));
                }
                let changes = newest_changes(&self.server, &self.job, &origins).await?;
                batch.leave_out_changed(&changes);
                let (server, pending) = (self.server.clone(), batch.announcements(self.facts()));
                tries += 1;
                timed(async move { add_events(&server, &pending).await }).await.map(Some)
            });
            let took = added.await?;
            if let Some(took) = took {
                return Ok(tries == 1 && took <= SETTLE);
            }
        }
    }

    /// Sends the copies of a batch that was announced, at the rate of the job, and after the
    /// acknowledgements stores the `sent` events. Returns what was done, and why the batch ended early, if
    /// it did: the copies that the brokers acknowledged before are done.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server. A job that is resumed sends again, under the
    /// same numbers, what was announced and is not known to have been sent.
    pub(crate) async fn send(
        &self,
        batch: &RedriveBatch,
    ) -> Result<(Tally, Result<(), Interrupt>), Interrupt> {
        let (results, ended) = self.send_all(&batch.bytes()).await;
        let (events, tally) = batch.results(results, self.facts());
        let add = async || add_events(&self.server, &events).await;
        self.attempts.until_ok("dead_letter_events", add).await?;
        Ok((tally, ended))
    }

    /// Sends copies at the rate of the job. Returns what is known of each, and why it is not known of all.
    async fn send_all(&self, copies: &[&RecordBytes]) -> (Vec<CopyResult>, Result<(), Interrupt>) {
        let mut results = vec![CopyResult::Unknown; copies.len()];
        let mut done = 0;
        while done < copies.len() {
            let permit = self.limit.permit(copies.len() - done, &self.attempts).await;
            let part = match permit {
                Ok(records) => done..done + records,
                Err(interrupt) => return (results, Err(interrupt)),
            };
            done = part.end;
            let ended = self.send_part(&copies[part.clone()], &mut results[part]).await;
            if ended.is_err() {
                return (results, ended);
            }
        }
        (results, Ok(()))
    }

    /// Sends copies until the brokers have acknowledged or refused each.
    async fn send_part(
        &self,
        copies: &[&RecordBytes],
        results: &mut [CopyResult],
    ) -> Result<(), Interrupt> {
        let mut open: Vec<usize> = (0..copies.len()).collect();
        let writer = &self.writer;
        let send = async || {
            let answers = join_all(open.iter().map(|at| writer.send(copies[*at]))).await;
            let (mut again, mut suspects, mut failed) = (Vec::new(), Vec::new(), None);
            for (at, answer) in open.iter().copied().zip(answers) {
                match answer {
                    Ok(()) => results[at] = CopyResult::Acknowledged,
                    Err(error) if error.class == ErrorClass::Record => suspects.push(at),
                    Err(error) => {
                        again.push(at);
                        failed = worst(failed, error);
                    }
                }
            }
            // The brokers refuse all records of a batch for one of them.
            for at in suspects {
                match writer.send(copies[at]).await {
                    Ok(()) => results[at] = CopyResult::Acknowledged,
                    Err(error) if error.class == ErrorClass::Record => {
                        results[at] = CopyResult::NotSent(NotSent::Refused(error.message));
                    }
                    Err(error) => {
                        again.push(at);
                        failed = worst(failed, error);
                    }
                }
            }
            open = again;
            failed.map_or(Ok(()), Err)
        };
        self.attempts.until_ok("redrive_writer", send).await
    }
}

/// A fatal error, if there is one.
fn worst(held: Option<ServerError>, next: ServerError) -> Option<ServerError> {
    match held {
        Some(held) if !held.is_retryable() => Some(held),
        Some(_) | None => Some(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redrive::example_letter::letter;
    use records::dead_letters::repair::KeyFacts;
    use records::dead_letters::state::DeadLetterState;
    use records::error::RecordError;

    fn record(fails: bool) -> JudgedRecord {
        let facts = KeyFacts { event_id: uuid::Uuid::from_u128(7), occurred_at_us: 5 };
        JudgedRecord {
            bytes: RecordBytes::default(),
            left_out: String::new(),
            verdict: if fails { Err(RecordError::EmptyValue) } else { Ok(facts) },
            repair: None,
            unrepaired: fails.then(|| "nothing to repair".to_owned()),
        }
    }

    #[test]
    fn a_record_that_would_fail_again_is_sent_only_if_forced_or_announced_before() {
        let own = letter(DeadLetterState::Open);
        for (fails, force, is_announced, is_sent) in [
            (false, false, false, true),
            (true, false, false, false),
            (true, true, false, true),
            (true, false, true, true),
        ] {
            match prepared(&own, record(fails), Number { number: 2, is_announced, force }) {
                Prepared::Send(copy) => {
                    assert!(is_sent);
                    assert_eq!(copy.fails.as_deref(), fails.then_some("empty_value"));
                    assert_eq!(copy.key_facts.is_some(), !fails);
                    assert_eq!(copy.bytes.headers.len(), 3);
                }
                Prepared::NotSent(not_sent) => {
                    assert!(!is_sent);
                    let text = not_sent.to_string();
                    assert!(text.starts_with("empty_value: "), "{text}");
                    assert!(
                        text.ends_with("the repair does not apply: nothing to repair"),
                        "{text}"
                    );
                }
                Prepared::Arrived(number) => panic!("{number}"),
            }
        }
    }

    #[test]
    fn a_fatal_error_prevails_over_those_that_are_repeated() {
        let (fatal, down) = (
            ServerError::fatal("kafka_access", "no right"),
            ServerError::retryable("kafka_unreachable", "down"),
        );
        for errors in [[&fatal, &down], [&down, &fatal]] {
            let held = errors.into_iter().cloned().fold(None, worst);
            assert_eq!(held.map(|error| error.code), Some("kafka_access"));
        }
    }
}
