//! Prepares and sends batches of a redrive.

use std::collections::HashMap;

use broker::{ErrorClass, ServerError};
use futures_util::future::join_all;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{Admission, Mode, NotSent, SelectedLetter};
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::redriven_copy::{CopyFacts, RecordBytes};
use records::dead_letters::repair::KeyFacts;

use crate::clickhouse::dead_letter_events::{DeadLetterEvent, EventKind, add_events};
use crate::clickhouse::dead_letter_repairs::{StoredRepair, add_repairs};
use crate::clickhouse::server::Server;
use crate::kafka::redrive_writer::RedriveWriter;
use crate::redrive::judge::{Judge, JudgedRecord};
use crate::redrive::record_source::{RecordSource, SourceRecord};
use crate::redrive::send_limit::SendLimit;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};
use crate::redrive::tally::Tally;

/// What a redrive does with a selected dead letter.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// Sends a copy.
    Send(PreparedCopy),
    /// The copy of this number is known to have arrived.
    Arrived(u32),
    /// Sends none.
    NotSent(NotSent),
}

impl Prepared {
    /// Counts what a redrive would do.
    pub(crate) fn count(&self, tally: &mut Tally) {
        match self {
            Self::Send(PreparedCopy { fails, unrepaired, .. }) => {
                tally.sent += 1;
                if let Some(code) = fails {
                    *tally.forced.entry(code.clone()).or_default() += 1;
                    tally.add_unrepaired(unrepaired.as_deref());
                }
            }
            Self::Arrived(_) => tally.sent += 1,
            Self::NotSent(not_sent) => tally.add(not_sent),
        }
    }
}

/// A copy that is to be sent.
#[derive(Debug)]
pub(crate) struct PreparedCopy {
    number: u32,
    /// The job announced it before.
    is_announced: bool,
    bytes: RecordBytes,
    /// `None`: it would fail again.
    key_facts: Option<KeyFacts>,
    repair: Option<StoredRepair>,
    /// Error code with which it would fail again.
    fails: Option<String>,
    /// Why the repair of the plan does not apply.
    unrepaired: Option<String>,
}

/// Decides about selected dead letters and makes their copies; sends and writes nothing.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) mode: Mode,
    pub(crate) source: RecordSource,
    pub(crate) judge: Judge,
}

impl Preparation {
    /// What to do with each of `letters`.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server.
    pub(crate) async fn prepare(
        &mut self,
        letters: &[SelectedLetter],
    ) -> Result<Vec<Prepared>, Interrupt> {
        let admissions: Vec<_> = letters.iter().map(|own| own.admission(self.mode)).collect();
        let is_read = |admission: &Admission| match admission {
            Admission::Judge(_) | Admission::Repeat(_) => true,
            Admission::Arrived(_) | Admission::NotSent(_) => false,
        };
        let both = letters.iter().zip(&admissions);
        let read: Vec<_> = both.filter(|(_, own)| is_read(own)).map(|(own, _)| own).collect();
        let mut lost = HashMap::new();
        let mut found: Vec<(&Origin, SourceRecord)> = Vec::with_capacity(read.len());
        let mut sources = self.source.read(&read).await?;
        for letter in &read {
            match sources.remove(&letter.origin) {
                Some(Ok(record)) => found.push((&letter.origin, record)),
                Some(Err(not_sent)) => drop(lost.insert(&letter.origin, not_sent)),
                None => {}
            }
        }
        let origins: Vec<_> = found.iter().map(|(origin, _)| *origin).collect();
        let judged = self.judge.judge(found).await?;
        let mut judged: HashMap<_, _> = origins.into_iter().zip(judged).collect();
        let force = self.mode.force;
        let prepared = letters.iter().zip(admissions).map(|(letter, admission)| {
            let (number, is_announced) = match admission {
                Admission::Judge(number) => (number, false),
                Admission::Repeat(number) => (number, true),
                Admission::Arrived(number) => return Prepared::Arrived(number),
                Admission::NotSent(not_sent) => return Prepared::NotSent(not_sent),
            };
            if let Some(not_sent) = lost.remove(&letter.origin) {
                return Prepared::NotSent(not_sent);
            }
            match judged.remove(&letter.origin) {
                Some(record) => prepared(letter, record, Number { number, is_announced, force }),
                None => Prepared::NotSent(NotSent::Lost("it was not read".to_owned())),
            }
        });
        Ok(prepared.collect())
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
    let JudgedRecord { bytes, verdict, repair, unrepaired } = record;
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

/// What is known of a copy.
#[derive(Debug, Clone)]
enum CopyResult {
    /// The brokers acknowledged it.
    Acknowledged,
    /// The brokers refuse it, or it is not sent.
    NotSent(NotSent),
    /// The redrive ended before the brokers answered. A job that is resumed sends it again.
    Unknown,
}

impl Sender {
    /// Sends a batch: `pending` events, the copies at the rate of the job, and after the acknowledgements
    /// the `sent` events. Returns what was done, and why the batch ended early, if it did: the
    /// copies that the brokers acknowledged before are done.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server. A job that is resumed sends again, under the
    /// same numbers, what was announced and is not known to have been sent.
    pub(crate) async fn send(
        &self,
        letters: &[SelectedLetter],
        prepared: Vec<Prepared>,
    ) -> Result<(Tally, Result<(), Interrupt>), Interrupt> {
        let changes_states = self.plan.changes_states();
        let (server, actor) = (&self.server, self.plan.actor.as_str());
        let (mut repairs, mut pending, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        for (letter, own) in letters.iter().zip(&prepared) {
            let Prepared::Send(copy) = own else { continue };
            repairs.extend(copy.repair.as_ref().map(|repair| (&letter.origin, repair)));
            if changes_states && !copy.is_announced {
                pending.push(self.pending(letter, copy));
            }
            copies.push(&copy.bytes);
        }
        if !repairs.is_empty() {
            let add = async || add_repairs(server, &repairs, actor).await;
            self.attempts.until_ok("dead_letter_repairs", add).await?;
        }
        let add = async || add_events(server, &pending).await;
        self.attempts.until_ok("dead_letter_events", add).await?;
        let (results, ended) = self.send_all(&copies).await;
        let mut results = results.into_iter();
        let (mut tally, mut events) = (Tally::default(), Vec::new());
        for (letter, own) in letters.iter().zip(&prepared) {
            let (number, result) = match own {
                Prepared::Send(copy) => {
                    (copy.number, results.next().unwrap_or(CopyResult::Unknown))
                }
                Prepared::Arrived(number) => (*number, CopyResult::Acknowledged),
                Prepared::NotSent(not_sent) => {
                    // A copy that was announced and is not sent now is not awaited any longer, unless
                    // another command has decided about it.
                    let is_decided = matches!(not_sent, NotSent::Changed(_));
                    let number = letter.announced.filter(|_| !is_decided).unwrap_or_default();
                    (number, CopyResult::NotSent(not_sent.clone()))
                }
            };
            let not_sent = match result {
                CopyResult::NotSent(not_sent) => not_sent,
                CopyResult::Acknowledged => {
                    tally.sent += 1;
                    let number = if changes_states { number } else { 0 };
                    events.push(self.event(letter, EventKind::Sent, number, String::new()));
                    continue;
                }
                CopyResult::Unknown => continue,
            };
            tally.add(&not_sent);
            let (kind, text) = (skip_kind(&not_sent), not_sent.to_string());
            // The copy that was announced is not awaited any longer.
            if number > 0 && changes_states {
                events.push(self.event(letter, EventKind::Reopened, number, text.clone()));
            }
            events.push(self.event(letter, kind, number, text));
        }
        let add = async || add_events(server, &events).await;
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

    fn pending(&self, letter: &SelectedLetter, copy: &PreparedCopy) -> DeadLetterEvent {
        let (event_id, occurred_at_us) = copy
            .key_facts
            .map_or(([0; 16], 0), |facts| (facts.event_id.into_bytes(), facts.occurred_at_us));
        let reason = self.plan.reason.clone();
        DeadLetterEvent {
            event_id,
            occurred_at_us,
            ..self.event(letter, EventKind::Pending, copy.number, reason)
        }
    }

    fn event(
        &self,
        letter: &SelectedLetter,
        kind: EventKind,
        redrive: u32,
        reason: String,
    ) -> DeadLetterEvent {
        DeadLetterEvent {
            origin: letter.origin.clone(),
            kind,
            redrive,
            job: self.job.clone(),
            event_id: [0; 16],
            occurred_at_us: 0,
            actor: self.plan.actor.clone(),
            reason,
        }
    }
}

/// The event of a dead letter that is not sent.
fn skip_kind(not_sent: &NotSent) -> EventKind {
    match not_sent {
        NotSent::Parked { .. } => EventKind::Parked,
        NotSent::WouldFail { .. }
        | NotSent::Lost(_)
        | NotSent::Refused(_)
        | NotSent::Changed(_) => EventKind::Skipped,
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
    use records::dead_letters::state::DeadLetterState;
    use records::error::RecordError;

    fn record(fails: bool) -> JudgedRecord {
        let facts = KeyFacts { event_id: uuid::Uuid::from_u128(7), occurred_at_us: 5 };
        JudgedRecord {
            bytes: RecordBytes::default(),
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
