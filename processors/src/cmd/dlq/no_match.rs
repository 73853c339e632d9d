//! What a command reports whose filter matches no dead letter that it applies to.

use broker::ServerError;
use records::dead_letters::shown_text::shown;
use records::dead_letters::state::DeadLetterState;

use crate::clickhouse::dead_letter_filter::DeadLetterFilter;
use crate::clickhouse::dead_letter_queries::{count, list};
use crate::clickhouse::server::Server;
use crate::clickhouse::state_changes::{StateCount, states};

/// The dead letters that the other conditions of a filter match, in other states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoMatch {
    /// The states that the command applies to; empty: any.
    states: Vec<DeadLetterState>,
    /// Names of the other states, and how many are in each.
    pub(super) others: Vec<(String, u64)>,
    /// Those that the command line names, with their states.
    named: Vec<(String, DeadLetterState)>,
}

impl NoMatch {
    /// Asks for the dead letters in other states than those that the command applies to.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn of(
        server: &Server,
        filter: &DeadLetterFilter,
        topic: &str,
        applies_to: &[DeadLetterState],
    ) -> Result<Self, ServerError> {
        let in_any_state = DeadLetterFilter { state: Vec::new(), ..filter.clone() };
        let condition = in_any_state.sql(topic);
        let counts = states(server, &condition).await?.into_iter();
        let others = counts.map(|StateCount { state_name, letters, .. }| (state_name, letters));
        let others: Vec<_> = others.collect();
        let mut named = Vec::new();
        if !filter.origins.is_empty() && !others.is_empty() {
            let limit = filter.origins.len() as u64;
            list(server, &condition, limit, |letter| {
                named.push((letter.origin.to_string(), letter.state));
                Ok(())
            })
            .await?;
        }
        Ok(Self { states: applies_to.to_vec(), others, named })
    }

    /// Whether the command line names dead letters, and all of them are in these states already.
    pub(super) fn is_done(&self, reached: &[DeadLetterState]) -> bool {
        !self.named.is_empty() && self.named.iter().all(|(_, state)| reached.contains(state))
    }

    /// What the command prints.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut first = "no dead letter matches".to_owned();
        if !self.states.is_empty() {
            let states: Vec<_> = self.states.iter().map(|state| state.name()).collect();
            first += &format!(" (states {})", states.join(", "));
        }
        let is_are = |count: u64| if count == 1 { "is" } else { "are" };
        let others = self.others.iter();
        let others: Vec<_> = others
            .map(|(state, count)| format!("{count} {} {}", is_are(*count), shown(state)))
            .collect();
        if !others.is_empty() {
            first += &format!("; {}", others.join(", "));
        }
        let named = self.named.iter();
        let named = named.map(|(origin, state)| format!("{} is {state}", shown(origin)));
        [first].into_iter().chain(named).collect()
    }
}

/// What `groups` and `ls` print instead of an empty table.
///
/// # Errors
/// The server's refusal.
pub(super) async fn empty_list(
    server: &Server,
    filter: &DeadLetterFilter,
    topic: &str,
) -> Result<String, ServerError> {
    let all = DeadLetterFilter::default();
    let others = if *filter == all { 0 } else { count(server, &all.sql(topic)).await? };
    Ok(empty_list_text(others))
}

/// `others`: dead letters of the topic that the filter does not match.
fn empty_list_text(others: u64) -> String {
    match others {
        0 => "no dead letters".to_owned(),
        1 => "no dead letter matches the filter; 1 other is in the table".to_owned(),
        _ => format!("no dead letter matches the filter; {others} others are in the table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_applies_to_none_names_its_states_and_those_of_the_others() {
        let none = NoMatch { states: vec![], others: vec![], named: vec![] };
        assert_eq!(none.lines(), ["no dead letter matches"]);
        let states = vec![DeadLetterState::Open, DeadLetterState::FailedAgain];
        let none = NoMatch { states, ..none };
        assert_eq!(none.lines(), ["no dead letter matches (states open, failed_again)"]);
        assert!(!none.is_done(&DeadLetterState::ALL));
        let none = NoMatch {
            others: vec![("discarded".to_owned(), 1), ("resolved".to_owned(), 7)],
            named: vec![
                ("t:0:3:9".to_owned(), DeadLetterState::Discarded),
                ("t:0:4:9".to_owned(), DeadLetterState::Resolved),
            ],
            ..none
        };
        assert_eq!(
            none.lines(),
            [
                "no dead letter matches (states open, failed_again); 1 is discarded, 7 are resolved",
                "t:0:3:9 is discarded",
                "t:0:4:9 is resolved",
            ]
        );
        assert!(!none.is_done(&[DeadLetterState::Discarded]));
        assert!(none.is_done(&[DeadLetterState::Discarded, DeadLetterState::Resolved]));
    }

    #[test]
    fn an_empty_list_states_how_many_the_filter_leaves_out() {
        for (others, expected) in [
            (0, "no dead letters"),
            (1, "no dead letter matches the filter; 1 other is in the table"),
            (74, "no dead letter matches the filter; 74 others are in the table"),
        ] {
            assert_eq!(empty_list_text(others), expected);
        }
    }
}
