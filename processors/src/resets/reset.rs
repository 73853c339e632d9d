//! A reset of the committed positions of a group, as its table holds it. Pure.
//!
//! A reset that a command has claimed keeps other commands from the group, and has no effect on members. An
//! open one keeps the members outside the group, until it ends or its command writes no version any longer.

use std::collections::BTreeMap;

use crate::jobs::job::JobVersion;

/// How far a reset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetState {
    /// No other command may reset the group.
    Claimed,
    /// Likewise, and its members stay outside.
    Open,
    /// The positions are committed.
    Done,
    /// No position was changed.
    Withdrawn,
}

impl ResetState {
    const ALL: [Self; 4] = [Self::Claimed, Self::Open, Self::Done, Self::Withdrawn];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Open => "open",
            Self::Done => "done",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The state of this name; `None` for one that this version does not know.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Consumer group.
    pub group: String,
    /// Version of these values, of all resets of the group.
    pub version: JobVersion,
    /// UUID v7.
    pub id: String,
    /// The log.
    pub topic: String,
    /// How far it is.
    pub state: ResetState,
    /// The position to be committed, by partition.
    pub targets: BTreeMap<i32, i64>,
    /// The replay of the offsets that it skips; empty where it skips none.
    pub job: String,
    /// User that made it.
    pub actor: String,
    /// Host and process of the command.
    pub host: String,
    /// Why it was withdrawn.
    pub message: String,
}

/// How long a version lasts, in microseconds, as the table sets it.
const LASTS_US: u64 = 10_000_000;

/// A reset, and how long it still lasts without another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReset {
    /// The newest version.
    pub reset: Reset,
    /// Microseconds by the server's clock; not positive once it has expired.
    pub left_us: i64,
}

impl StoredReset {
    /// Whether the reset keeps other commands from the group.
    pub fn holds(&self) -> bool {
        match self.reset.state {
            ResetState::Claimed | ResetState::Open => left(self.left_us).is_some(),
            ResetState::Done | ResetState::Withdrawn => false,
        }
    }
}

/// How many microseconds a reset lasts; `None` once it has expired. One that seems to last longer than any has
/// expired, too: the clock of the server was set back.
pub(crate) fn left(left_us: i64) -> Option<u64> {
    u64::try_from(left_us).ok().filter(|left| (1..=LASTS_US).contains(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_kept_by_a_reset_that_has_neither_ended_nor_expired() {
        for (state, left_us, holds) in [
            (ResetState::Claimed, 1, true),
            (ResetState::Open, 1, true),
            (ResetState::Open, 10_000_000, true),
            (ResetState::Open, 10_000_001, false),
            (ResetState::Claimed, 0, false),
            (ResetState::Open, -5, false),
            (ResetState::Done, 9_000_000, false),
            (ResetState::Withdrawn, 9_000_000, false),
        ] {
            let reset = Reset {
                group: "g".into(),
                version: JobVersion::first(1),
                id: "r".into(),
                topic: "t".into(),
                state,
                targets: [(0, 5)].into(),
                job: String::new(),
                actor: String::new(),
                host: String::new(),
                message: String::new(),
            };
            assert_eq!(StoredReset { reset, left_us }.holds(), holds, "{state:?} {left_us}");
            assert_eq!(ResetState::named(state.name()), Some(state));
        }
        assert_eq!(ResetState::named("paused"), None);
    }
}
