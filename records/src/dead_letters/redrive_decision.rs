//! Which of the selected dead letters a redrive sends, and under which number. Pure.

use std::fmt;

use crate::dead_letters::origin::Origin;
use crate::dead_letters::state::DeadLetterState;
use crate::error::RecordError;

/// Copies of one origin after which a redrive without `--force` parks it.
pub const COPIES_MAX: u64 = 3;

/// A selected dead letter, as the tables hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedLetter {
    /// The record that failed first.
    pub origin: Origin,
    /// State now.
    pub state: DeadLetterState,
    /// Error code of the newest dead letter.
    pub code: String,
    /// Number of the newest dead letter; 0 is that of the origin itself.
    pub redrive: u32,
    /// How many copies were sent.
    pub copies: u64,
    /// Greatest number of a copy; 0 without a copy.
    pub last_copy: u32,
    /// Number of the copy that this job announced and of which it does not know whether it was sent.
    pub announced: Option<u32>,
    /// Another command changed the state after the selection.
    pub has_changed: bool,
    /// When the state was changed last, by the server's clock, microseconds since 1970.
    pub changed_at_us: i64,
    /// `record`, `batch`: only lengths and hashes were kept; empty: the record is complete.
    pub stub: String,
    /// Where its newest dead letter is.
    pub letter: LetterLocation,
    /// Length of the record's value.
    pub value_bytes: u64,
    /// When the origin failed, milliseconds since 1970.
    pub first_failed_at_ms: i64,
}

/// Topic, partition and offset of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterLocation {
    /// Dead-letter topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// What happens to a selected dead letter before its record is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Its record is read and decoded, and sent as the copy of this number if it would not fail.
    Judge(u32),
    /// Its record is sent again as the copy of this number, because the job announced the copy before.
    Repeat(u32),
    /// The copy of this number is known to have arrived.
    Arrived(u32),
    /// It is not sent.
    NotSent(NotSent),
}

/// How a redrive treats records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Sends records that would fail again, and parked ones.
    pub force: bool,
    /// The copies change states: they are sent to the topic of the origins.
    pub changes_states: bool,
}

impl SelectedLetter {
    /// Whether to send it.
    pub fn admission(&self, mode: Mode) -> Admission {
        match (self.announced, self.state) {
            (Some(number), DeadLetterState::Resolved) => return Admission::Arrived(number),
            (Some(number), _) if self.redrive >= number => return Admission::Arrived(number),
            (Some(number), DeadLetterState::Pending) => return Admission::Repeat(number),
            // Another command discarded it meanwhile, or opened it again, which makes another copy.
            (Some(_) | None, _) => {}
        }
        let is_closed = match self.state {
            DeadLetterState::Open => false,
            DeadLetterState::FailedAgain | DeadLetterState::Parked => self.has_changed,
            DeadLetterState::Pending | DeadLetterState::Resolved | DeadLetterState::Discarded => {
                self.has_changed || !mode.force
            }
        };
        if mode.changes_states && is_closed {
            return Admission::NotSent(NotSent::Changed(self.state));
        }
        let has_failed_often =
            self.state == DeadLetterState::FailedAgain && self.copies >= COPIES_MAX;
        let is_parked = has_failed_often || self.state == DeadLetterState::Parked;
        if mode.changes_states && is_parked && !mode.force {
            return Admission::NotSent(NotSent::Parked { copies: self.copies });
        }
        Admission::Judge(self.last_copy.max(self.redrive).saturating_add(1))
    }
}

/// Why a record is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// Too many copies have failed.
    Parked {
        /// How many copies were sent.
        copies: u64,
    },
    /// The processors would dead-letter the copy, too.
    WouldFail {
        /// Error code.
        code: String,
        /// Error message.
        message: String,
        /// Why the repair of the redrive does not apply.
        unrepaired: Option<String>,
    },
    /// Its bytes exist no longer.
    Lost(String),
    /// The brokers refuse the copy.
    Refused(String),
    /// Another command changed the state after the selection.
    Changed(DeadLetterState),
}

impl NotSent {
    /// The record would fail with this error; `unrepaired` is why the repair of the redrive does not apply.
    pub fn would_fail(error: &RecordError, unrepaired: Option<String>) -> Self {
        let (code, message) = (error.code().to_owned(), error.to_string());
        Self::WouldFail { code, message, unrepaired }
    }

    /// A stable name, with which the text of the event begins.
    pub fn cause(&self) -> &str {
        match self {
            Self::Parked { .. } => PARKED,
            Self::WouldFail { code, .. } => code,
            Self::Lost(_) => LOST,
            Self::Refused(_) => REFUSED,
            Self::Changed(_) => CHANGED,
        }
    }
}

/// Cause of a record that is parked.
pub const PARKED: &str = "parked";
/// Cause of a record whose bytes exist no longer.
pub const LOST: &str = "lost";
/// Cause of a record that the brokers refuse.
pub const REFUSED: &str = "refused";
/// Cause of a record whose state another command changed.
pub const CHANGED: &str = "changed";

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.cause())?;
        match self {
            Self::Parked { copies } => {
                write!(f, "{copies} copies have failed; --force sends another one")
            }
            Self::WouldFail { message, unrepaired: Some(why), .. } => {
                write!(f, "{message}; the repair does not apply: {why}")
            }
            Self::WouldFail { message, unrepaired: None, .. }
            | Self::Lost(message)
            | Self::Refused(message) => f.write_str(message),
            Self::Changed(state) => {
                write!(f, "its state is {state}; {}", remedy(*state))
            }
        }
    }
}

/// What an operator can do with a dead letter whose state another command changed to this one.
fn remedy(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Open | DeadLetterState::FailedAgain => "redrive it again",
        DeadLetterState::Pending => {
            "another redrive announced a copy; if none arrives, send it with --state pending --force"
        }
        DeadLetterState::Resolved => {
            "reopen it with --state resolved, or send it with --state resolved --force"
        }
        DeadLetterState::Discarded => "reopen it, or send it with --state discarded --force",
        DeadLetterState::Parked => "reopen it, or send it with --force",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(state: DeadLetterState) -> SelectedLetter {
        SelectedLetter {
            origin: "t:0:7:1000".parse().unwrap(),
            state,
            code: "bad_magic".to_owned(),
            redrive: 0,
            copies: 0,
            last_copy: 0,
            announced: None,
            has_changed: false,
            changed_at_us: 0,
            stub: String::new(),
            letter: LetterLocation { topic: "t.dlq".to_owned(), partition: 0, offset: 0 },
            value_bytes: 10,
            first_failed_at_ms: 2000,
        }
    }

    const MODE: Mode = Mode { force: false, changes_states: true };

    #[test]
    fn a_copy_has_the_number_after_all_copies_and_all_dead_letters() {
        for (last_copy, redrive, number) in [(0, 0, 1), (1, 1, 2), (2, 1, 3), (0, 4, 5)] {
            let own = SelectedLetter { last_copy, redrive, ..letter(DeadLetterState::Open) };
            assert_eq!(own.admission(MODE), Admission::Judge(number));
        }
        let last = SelectedLetter { redrive: u32::MAX, ..letter(DeadLetterState::Open) };
        assert_eq!(last.admission(MODE), Admission::Judge(u32::MAX));
    }

    #[test]
    fn an_announced_copy_is_sent_again_under_its_number_unless_it_arrived() {
        let pending = SelectedLetter {
            announced: Some(4),
            last_copy: 4,
            copies: 4,
            ..letter(DeadLetterState::Pending)
        };
        assert_eq!(pending.admission(MODE), Admission::Repeat(4));
        let failed =
            SelectedLetter { redrive: 4, state: DeadLetterState::FailedAgain, ..pending.clone() };
        assert_eq!(failed.admission(MODE), Admission::Arrived(4));
        let resolved = SelectedLetter { state: DeadLetterState::Resolved, ..pending.clone() };
        assert_eq!(resolved.admission(MODE), Admission::Arrived(4));
        let discarded = SelectedLetter { state: DeadLetterState::Discarded, ..pending.clone() };
        let changed = Admission::NotSent(NotSent::Changed(DeadLetterState::Discarded));
        assert_eq!(discarded.admission(MODE), changed);
        let reopened = SelectedLetter { state: DeadLetterState::Open, ..pending };
        assert_eq!(reopened.admission(MODE), Admission::Judge(5), "with an event of its own");
    }

    #[test]
    fn a_closed_dead_letter_is_sent_only_if_forced_or_to_another_topic() {
        for state in
            [DeadLetterState::Pending, DeadLetterState::Resolved, DeadLetterState::Discarded]
        {
            let own = letter(state);
            assert_eq!(own.admission(MODE), Admission::NotSent(NotSent::Changed(state)));
            for mode in [Mode { force: true, ..MODE }, Mode { changes_states: false, ..MODE }] {
                assert_eq!(own.admission(mode), Admission::Judge(1), "{state}");
            }
        }
    }

    #[test]
    fn an_origin_of_three_failed_copies_is_parked_unless_forced_or_sent_elsewhere() {
        let parked = |copies| Admission::NotSent(NotSent::Parked { copies });
        let (forced, elsewhere) =
            (Mode { force: true, ..MODE }, Mode { changes_states: false, ..MODE });
        for (state, copies, expected) in [
            (DeadLetterState::FailedAgain, 2, Admission::Judge(3)),
            (DeadLetterState::FailedAgain, 3, parked(3)),
            (DeadLetterState::Parked, 3, parked(3)),
            // Reopened.
            (DeadLetterState::Open, 3, Admission::Judge(4)),
        ] {
            let last_copy = u32::try_from(copies).unwrap();
            let own = SelectedLetter { copies, last_copy, redrive: last_copy, ..letter(state) };
            assert_eq!(own.admission(MODE), expected, "{state} {copies}");
            for mode in [forced, elsewhere] {
                assert_eq!(own.admission(mode), Admission::Judge(last_copy + 1), "{state}");
            }
        }
    }

    #[test]
    fn a_state_that_another_command_changed_after_the_selection_is_kept() {
        for state in DeadLetterState::ALL {
            let own = SelectedLetter { has_changed: true, ..letter(state) };
            let expected = if state == DeadLetterState::Open {
                Admission::Judge(1)
            } else {
                Admission::NotSent(NotSent::Changed(state))
            };
            assert_eq!(own.admission(Mode { force: true, ..MODE }), expected, "{state}");
        }
    }

    #[test]
    fn the_text_of_a_record_that_is_not_sent_begins_with_its_cause() {
        for (not_sent, cause) in [
            (NotSent::Parked { copies: 3 }, PARKED),
            (NotSent::would_fail(&RecordError::EmptyValue, None), "empty_value"),
            (NotSent::Lost("expired".to_owned()), LOST),
            (NotSent::Refused("too large".to_owned()), REFUSED),
            (NotSent::Changed(DeadLetterState::Discarded), CHANGED),
        ] {
            assert_eq!(not_sent.cause(), cause);
            assert!(not_sent.to_string().starts_with(&format!("{cause}: ")), "{not_sent}");
        }
    }

    /// `--force` alone selects neither pending, nor resolved, nor discarded ones, and `dlq reopen` takes no
    /// pending one.
    #[test]
    fn the_text_of_a_changed_dead_letter_names_a_command_that_applies_to_its_state() {
        for state in DeadLetterState::ALL {
            let text = NotSent::Changed(state).to_string();
            let named = text.contains(&format!("--state {state} --force"));
            let is_selected = matches!(state, DeadLetterState::Open | DeadLetterState::FailedAgain);
            assert_eq!(named, !is_selected && state != DeadLetterState::Parked, "{text}");
            assert_eq!(text.contains("reopen"), !is_selected && state != DeadLetterState::Pending);
        }
    }
}
