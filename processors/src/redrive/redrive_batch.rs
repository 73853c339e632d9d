//! A batch of a redrive: dead letters, what the redrive does with each, and the events that record it.
//! Pure.

use std::collections::HashMap;

use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{NotSent, SelectedLetter};
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::redriven_copy::RecordBytes;
use records::dead_letters::repair::KeyFacts;
use records::dead_letters::state::DeadLetterState;

use crate::clickhouse::dead_letter_events::{DeadLetterEvent, EventKind};
use crate::clickhouse::dead_letter_repairs::StoredRepair;
use crate::clickhouse::first_announcements::Announced;
use crate::clickhouse::newest_changes::NewestChanges;
use crate::redrive::tally::Tally;

/// Records of a batch.
pub(crate) const BATCH_RECORDS: usize = 1_000;
/// Bytes of their keys, values and headers, unless one record alone is larger.
pub(crate) const BATCH_BYTES: usize = 8 << 20;

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

/// A copy that is to be sent.
#[derive(Debug)]
pub(crate) struct PreparedCopy {
    pub(crate) number: u32,
    /// The job announced it before.
    pub(crate) is_announced: bool,
    pub(crate) bytes: RecordBytes,
    /// What the copy lacks, because no table or topic has it any longer; empty: nothing.
    pub(crate) left_out: String,
    /// `None`: it would fail again.
    pub(crate) key_facts: Option<KeyFacts>,
    pub(crate) repair: Option<StoredRepair>,
    /// Error code with which it would fail again.
    pub(crate) fails: Option<String>,
    /// Why the repair of the plan does not apply.
    pub(crate) unrepaired: Option<String>,
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

/// What is known of a copy.
#[derive(Debug, Clone)]
pub(crate) enum CopyResult {
    /// The brokers acknowledged it.
    Acknowledged,
    /// The brokers refuse it.
    NotSent(NotSent),
    /// The redrive ended before the brokers answered. A job that is resumed sends it again.
    Unknown,
}

/// What the events of a job have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventFacts<'a> {
    pub(crate) job: &'a str,
    pub(crate) plan: &'a RedrivePlan,
}

impl EventFacts<'_> {
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
            job: self.job.to_owned(),
            event_id: [0; 16],
            occurred_at_us: 0,
            actor: self.plan.actor.clone(),
            reason,
        }
    }
}

/// Dead letters that are prepared, announced and sent together.
#[derive(Debug, Default)]
pub(crate) struct RedriveBatch(pub(crate) Vec<(SelectedLetter, Prepared)>);

impl RedriveBatch {
    fn copies(&self) -> impl Iterator<Item = (&SelectedLetter, &PreparedCopy)> {
        self.0.iter().filter_map(|(letter, own)| match own {
            Prepared::Send(copy) => Some((letter, copy)),
            Prepared::Arrived(_) | Prepared::NotSent(_) => None,
        })
    }

    /// The bytes of its copies, in order.
    pub(crate) fn bytes(&self) -> Vec<&RecordBytes> {
        self.copies().map(|(_, copy)| &copy.bytes).collect()
    }

    /// The origins of its copies.
    pub(crate) fn origins(&self) -> Vec<&Origin> {
        self.copies().map(|(letter, _)| &letter.origin).collect()
    }

    /// The repairs of its copies.
    pub(crate) fn repairs(&self) -> Vec<(&Origin, &StoredRepair)> {
        self.copies()
            .filter_map(|(letter, copy)| Some((&letter.origin, copy.repair.as_ref()?)))
            .collect()
    }

    /// The events that precede its copies.
    pub(crate) fn announcements(&self, facts: EventFacts<'_>) -> Vec<DeadLetterEvent> {
        let new = self.copies().filter(|(_, copy)| !copy.is_announced);
        let event = |(letter, copy): (&SelectedLetter, &PreparedCopy)| {
            let (event_id, occurred_at_us) = copy
                .key_facts
                .map_or(([0; 16], 0), |facts| (facts.event_id.into_bytes(), facts.occurred_at_us));
            let reason = facts.plan.reason.clone();
            let event = facts.event(letter, EventKind::Pending, copy.number, reason);
            DeadLetterEvent { event_id, occurred_at_us, ..event }
        };
        new.map(event).collect()
    }

    /// Leaves out the copies of dead letters whose state another command changed after it was read. A
    /// copy that was announced before and whose dead letter is resolved has arrived.
    pub(crate) fn leave_out_changed(&mut self, changes: &HashMap<Origin, NewestChanges>) {
        for (letter, own) in &mut self.0 {
            let Prepared::Send(copy) = own else { continue };
            let changes = changes.get(&letter.origin);
            let since = changes.and_then(|own| own.since(letter.changed_at_us, copy.is_announced));
            *own = match since {
                None => continue,
                Some(DeadLetterState::Resolved) if copy.is_announced => {
                    Prepared::Arrived(copy.number)
                }
                Some(state) => Prepared::NotSent(NotSent::Changed(state)),
            };
        }
    }

    /// Keeps each copy that `job` may send; the others are another job's. `in_time` is whether the
    /// announcements of this batch were stored in time; of those that the job made before it was resumed,
    /// that is not known.
    pub(crate) fn keep_own(
        &mut self,
        announced: &HashMap<(Origin, u32), Announced>,
        job: &str,
        in_time: bool,
    ) {
        for (letter, own) in &mut self.0 {
            let Prepared::Send(copy) = own else { continue };
            let announced = announced.get(&(letter.origin.clone(), copy.number));
            let in_time = in_time && !copy.is_announced;
            if !announced.is_some_and(|announced| announced.may_send(job, in_time)) {
                *own = Prepared::NotSent(NotSent::Changed(DeadLetterState::Pending));
            }
        }
    }

    /// The events after the copies were sent, and the counts. `results` has one of each copy, in order.
    pub(crate) fn results(
        &self,
        results: Vec<CopyResult>,
        facts: EventFacts<'_>,
    ) -> (Vec<DeadLetterEvent>, Tally) {
        let changes_states = facts.plan.changes_states();
        let mut results = results.into_iter();
        let (mut tally, mut events) = (Tally::default(), Vec::new());
        for (letter, own) in &self.0 {
            let (number, left_out, result) = match own {
                Prepared::Send(copy) => {
                    let result = results.next().unwrap_or(CopyResult::Unknown);
                    (copy.number, copy.left_out.as_str(), result)
                }
                Prepared::Arrived(number) => (*number, "", CopyResult::Acknowledged),
                Prepared::NotSent(not_sent) => {
                    // A copy that was announced and is not sent now is not awaited any longer, unless
                    // another command has decided about it.
                    let is_decided = matches!(not_sent, NotSent::Changed(_));
                    let number = letter.announced.filter(|_| !is_decided).unwrap_or_default();
                    (number, "", CopyResult::NotSent(not_sent.clone()))
                }
            };
            let not_sent = match result {
                CopyResult::NotSent(not_sent) => not_sent,
                CopyResult::Acknowledged => {
                    tally.sent += 1;
                    let number = if changes_states { number } else { 0 };
                    events.push(facts.event(letter, EventKind::Sent, number, left_out.to_owned()));
                    continue;
                }
                CopyResult::Unknown => continue,
            };
            tally.add(&not_sent);
            let (kind, text) = (skip_kind(&not_sent), not_sent.to_string());
            // The copy that was announced is not awaited any longer.
            if number > 0 && changes_states {
                events.push(facts.event(letter, EventKind::Reopened, number, text.clone()));
            }
            events.push(facts.event(letter, kind, number, text));
        }
        (events, tally)
    }
}

/// How many of the next records are read as a batch, at least one: by the bytes of their values. Those of
/// keys and headers are known once they are read.
pub(crate) fn batch_length<'l>(
    letters: impl Iterator<Item = &'l SelectedLetter>,
    records_max: usize,
) -> usize {
    let mut bytes = 0_u64;
    let within = letters.take_while(|letter| {
        bytes = bytes.saturating_add(letter.value_bytes);
        bytes <= BATCH_BYTES as u64
    });
    within.count().clamp(1, records_max.max(1))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::first_announcements::Announcement;
    use crate::redrive::example_letter::{letter, plan};
    use crate::redrive::send_limit::SendLimit;

    fn copy(number: u32, is_announced: bool) -> Prepared {
        Prepared::Send(PreparedCopy {
            number,
            is_announced,
            bytes: RecordBytes::default(),
            left_out: String::new(),
            key_facts: None,
            repair: None,
            fails: None,
            unrepaired: None,
        })
    }

    fn batch(own: Vec<Prepared>) -> RedriveBatch {
        let letters = (0_u64..).map(|offset| {
            let mut letter = letter(DeadLetterState::Open);
            letter.origin.offset = offset;
            letter
        });
        RedriveBatch(letters.zip(own).collect())
    }

    fn kinds(events: &[DeadLetterEvent]) -> Vec<(u64, EventKind, u32)> {
        events.iter().map(|event| (event.origin.offset, event.kind, event.redrive)).collect()
    }

    #[test]
    fn each_copy_is_announced_once_and_recorded_by_its_result() {
        let plan = plan();
        let facts = EventFacts { job: "j", plan: &plan };
        let lost = NotSent::Lost("expired".to_owned());
        let own = vec![copy(1, false), copy(2, true), copy(1, false), Prepared::Arrived(3)];
        let mut batch = batch(own.into_iter().chain([Prepared::NotSent(lost)]).collect());
        if let Prepared::Send(copy) = &mut batch.0[0].1 {
            copy.left_out = "headers".to_owned();
        }
        let announced = batch.announcements(facts);
        let pending = EventKind::Pending;
        assert_eq!(kinds(&announced), [(0, pending, 1), (2, pending, 1)]);
        assert_eq!(batch.bytes().len(), 3);
        let results = vec![CopyResult::Acknowledged, CopyResult::Unknown];
        let refused = CopyResult::NotSent(NotSent::Refused("too large".to_owned()));
        let results = results.into_iter().chain([refused]).collect();
        let (events, tally) = batch.results(results, facts);
        let (sent, skipped) = (EventKind::Sent, EventKind::Skipped);
        let expected = [
            (0, sent, 1),
            (2, EventKind::Reopened, 1),
            (2, skipped, 1),
            (3, sent, 3),
            (4, skipped, 0),
        ];
        assert_eq!(kinds(&events), expected);
        assert_eq!(events[0].reason, "headers");
        assert_eq!((tally.sent, tally.refused, tally.lost), (2, 1, 1));
    }

    #[test]
    fn a_copy_that_another_job_announced_first_is_not_sent_and_stays_pending() {
        let plan = plan();
        let facts = EventFacts { job: "own", plan: &plan };
        let copies = [false, false, false, true].map(|is_announced| copy(1, is_announced));
        let mut batch = batch(copies.into());
        let origins: Vec<Origin> = batch.origins().into_iter().cloned().collect();
        let of = |job: &str, at_us| Announcement {
            job: job.to_owned(),
            at_us,
            is_sent: false,
            is_skipped: false,
        };
        let both = |own_at, other_at| Announced(vec![of("own", own_at), of("other", other_at)]);
        let key = |at: usize| (origins[at].clone(), 1);
        // The last one was announced before the job was resumed.
        let announced = [(key(0), both(1, 2)), (key(1), both(2, 1)), (key(3), both(1, 2))];
        batch.keep_own(&announced.into(), "own", true);
        assert_eq!(batch.origins(), [&origins[0]]);
        let (events, tally) = batch.results(vec![CopyResult::Acknowledged], facts);
        let skipped = |offset| (offset, EventKind::Skipped, 0);
        assert_eq!(kinds(&events), [(0, EventKind::Sent, 1), skipped(1), skipped(2), skipped(3)]);
        assert_eq!((tally.sent, tally.changed), (1, 3));
    }

    /// So a decision of an operator is kept that was made after the batch was read, and a copy is left out
    /// whose number follows an announcement that its state lacks.
    #[test]
    fn a_copy_whose_dead_letter_changed_after_it_was_read_is_neither_announced_nor_sent() {
        let plan = plan();
        let facts = EventFacts { job: "own", plan: &plan };
        let copies = [false, false, false, true, true, true].map(|own| copy(1, own));
        let mut batch = batch(copies.into());
        batch.0.iter_mut().for_each(|(letter, _)| letter.changed_at_us = 5);
        let origins: Vec<Origin> = batch.origins().into_iter().cloned().collect();
        let change = |at: usize, decided, decided_at_us, announced_at_us| {
            (origins[at].clone(), NewestChanges { decided, decided_at_us, announced_at_us })
        };
        let (open, discarded) = (DeadLetterState::Open, DeadLetterState::Discarded);
        let changes = [
            change(0, discarded, 5, 0),
            change(1, discarded, 6, 0),
            change(2, open, 0, 6),
            change(3, open, 0, 6),
            change(4, discarded, 6, 0),
            change(5, DeadLetterState::Resolved, 6, 0),
        ];
        batch.leave_out_changed(&changes.into());
        assert_eq!(batch.origins(), [&origins[0], &origins[3]]);
        assert_eq!(kinds(&batch.announcements(facts)), [(0, EventKind::Pending, 1)]);
        let acknowledged = vec![CopyResult::Acknowledged; 2];
        let (events, tally) = batch.results(acknowledged, facts);
        let (sent, skipped) = (EventKind::Sent, EventKind::Skipped);
        let expected = [
            (0, sent, 1),
            (1, skipped, 0),
            (2, skipped, 0),
            (3, sent, 1),
            (4, skipped, 0),
            (5, sent, 1),
        ];
        assert_eq!(kinds(&events), expected);
        assert_eq!((tally.sent, tally.changed), (3, 3));
    }

    #[test]
    fn a_batch_is_bounded_by_records_bytes_and_rate_and_has_at_least_one() {
        let letters = |bytes: &[u64]| -> Vec<_> {
            let of = |value_bytes| SelectedLetter { value_bytes, ..letter(DeadLetterState::Open) };
            bytes.iter().copied().map(of).collect()
        };
        let mib = 1 << 20;
        for (bytes, rate, expected) in [
            (vec![10; 1700], None, 1000),
            (vec![10; 500], Some(30), 300),
            (vec![10; 500], Some(1), 10),
            (vec![10; 7], Some(1000), 7),
            (vec![mib; 500], None, 8),
            (vec![20 * mib, 1, 1], None, 1),
            (vec![1, 20 * mib, 1], None, 1),
        ] {
            let records_max = SendLimit::new(rate).batch_max(BATCH_RECORDS);
            assert_eq!(batch_length(letters(&bytes).iter(), records_max), expected);
        }
    }
}
