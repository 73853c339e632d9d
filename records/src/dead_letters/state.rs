//! The states of a dead letter, as the view `dead_letters` names them. Pure.

use std::fmt;

use clap::ValueEnum;

/// State of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum DeadLetterState {
    /// No command was applied to it.
    Open,
    /// A copy was sent, or is about to be, and its outcome is not known.
    Pending,
    /// The copy failed.
    FailedAgain,
    /// The click of the copy is in the table.
    Resolved,
    /// An operator decided that it never becomes a row.
    Discarded,
    /// Too many copies failed.
    Parked,
}

impl DeadLetterState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Pending,
        Self::FailedAgain,
        Self::Resolved,
        Self::Discarded,
        Self::Parked,
    ];

    /// Its name in the view.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::FailedAgain => "failed_again",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
            Self::Parked => "parked",
        }
    }
}

impl fmt::Display for DeadLetterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_states_are_those_of_the_view_and_of_the_command_line() {
        let migration = include_str!("../../../processors/migrations/0006_dead_letters.sql");
        for state in DeadLetterState::ALL {
            assert!(migration.contains(&format!("'{state}'")), "{state}");
            assert_eq!(state.to_possible_value().unwrap().get_name(), state.name());
            assert_eq!(DeadLetterState::from_str(state.name(), false), Ok(state));
        }
    }
}
