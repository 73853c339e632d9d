//! What `discard` and `reopen` share: count, ask, change, print.

use std::io::IsTerminal as _;

use broker::ServerError;
use clap::{Args, ValueEnum as _};
use records::dead_letters::shown_text::json_line;
use records::dead_letters::state::DeadLetterState;
use serde_json::{Map, Value, json};

use crate::clickhouse::dead_letter_events::EventKind;
use crate::clickhouse::dead_letter_filter::DeadLetterFilter;
use crate::clickhouse::state_changes::{StateChange, StateCount, change_states, states};
use crate::cmd::dlq::actor::ActorArgs;
use crate::cmd::dlq::no_match::NoMatch;
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, USAGE, print_error, print_line};

/// Arguments of both commands.
#[derive(Debug, Args)]
pub(super) struct StateChangeArgs {
    #[command(flatten)]
    pub(super) filter: DeadLetterFilter,
    /// Do not ask; required for more than one dead letter where there is no terminal.
    #[arg(long)]
    yes: bool,
    /// Count, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: ActorArgs,
}

/// A change, as its command describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangeSpec<'a> {
    /// The command.
    pub(super) command: &'static str,
    /// What the changed dead letters are.
    pub(super) done: &'static str,
    /// The event of each.
    pub(super) kind: EventKind,
    /// The states that it applies to.
    pub(super) from: &'a [DeadLetterState],
    /// Why, in the words of the operator.
    pub(super) reason: &'a str,
    /// A state whose dead letters are changed with another option.
    pub(super) other_state: DeadLetterState,
    /// That option.
    pub(super) remedy: &'static str,
    /// The states of dead letters to which the change was applied before.
    pub(super) reached: &'a [DeadLetterState],
}

/// Counts of dead letters that meet a filter.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    /// In the states that the change applies to.
    selected: u64,
    /// Their newest failure, milliseconds since 1970.
    last_failed_at_ms: i64,
    /// In other states.
    others: Vec<(String, u64)>,
}

impl Selection {
    fn new(counts: Vec<StateCount>, from: &[DeadLetterState]) -> Self {
        let is_from = |count: &StateCount| {
            let state = DeadLetterState::from_str(&count.state_name, false);
            state.is_ok_and(|state| from.contains(&state))
        };
        let (selected, others): (Vec<_>, Vec<_>) = counts.into_iter().partition(is_from);
        Self {
            selected: selected.iter().map(|count| count.letters).sum(),
            last_failed_at_ms: selected.iter().map(|it| it.last_failed_at_ms).max().unwrap_or(0),
            others: others.into_iter().map(|it| (it.state_name, it.letters)).collect(),
        }
    }

    /// The option that changes some of the others.
    fn remedy(&self, spec: ChangeSpec<'_>) -> &'static str {
        let has_remedy = self.others.iter().any(|(state, _)| state == spec.other_state.name());
        if has_remedy { spec.remedy } else { "" }
    }

    fn print(&self, spec: ChangeSpec<'_>, args: &StateChangeArgs) {
        let Self { selected, others, .. } = self;
        if args.json {
            let others = others.iter().map(|(state, count)| (state.clone(), (*count).into()));
            let unchanged: Map<String, Value> = others.collect();
            let object =
                json!({ spec.done: selected, "unchanged": unchanged, "dry_run": args.dry_run });
            return print_line(json_line(&object));
        }
        let would = if args.dry_run { "would be " } else { "" };
        print_line(format_args!("{}: {selected} {would}{}", spec.command, spec.done));
        if !others.is_empty() {
            let remedy = self.remedy(spec);
            let others = others.iter().map(|(state, count)| format!("{count} {state}"));
            let others = others.collect::<Vec<_>>().join(", ");
            print_line(format_args!("{}: unchanged: {others}{remedy}", spec.command));
        }
    }
}

/// Runs the change.
///
/// # Errors
/// The server's refusal.
pub(super) async fn change(
    servers: &Servers,
    args: &StateChangeArgs,
    spec: ChangeSpec<'_>,
) -> Result<u8, ServerError> {
    if args.filter == DeadLetterFilter::default() {
        let command = spec.command;
        print_error(format_args!(
            "{command} needs at least one filter or dead letter, such as --group ID or --state open"
        ));
        return Ok(USAGE);
    }
    let server = servers.clickhouse.server()?;
    let topic = servers.kafka.topic.as_str();
    let condition = args.filter.sql(topic);
    let selection = Selection::new(states(&server, &condition).await?, spec.from);
    if selection.selected == 0 {
        let none = NoMatch::of(&server, &args.filter, topic, spec.from).await?;
        if args.json {
            selection.print(spec, args);
        } else {
            print_none(spec, &none, &selection);
        }
        return Ok(if none.is_done(spec.reached) { DONE } else { DIFFERS });
    }
    if args.dry_run {
        selection.print(spec, args);
        return Ok(DONE);
    }
    match consent(selection.selected, args.yes, std::io::stdin().is_terminal()) {
        Consent::Given => {}
        Consent::Ask if asked(spec.command, selection.selected).await? => {}
        Consent::Ask => {
            print_error("nothing is changed");
            return Ok(USAGE);
        }
        Consent::Missing => {
            let count = selection.selected;
            print_error(format_args!(
                "nothing is changed: to {} {count} dead letters without a terminal, add --yes",
                spec.command
            ));
            return Ok(USAGE);
        }
    }
    let change = StateChange {
        kind: spec.kind,
        from: spec.from,
        last_failed_at_ms: selection.last_failed_at_ms,
        actor: args.actor.name(),
        reason: spec.reason,
    };
    change_states(&server, &condition, &change).await?;
    selection.print(spec, args);
    Ok(DONE)
}

/// Prints that the change applies to no dead letter.
fn print_none(spec: ChangeSpec<'_>, none: &NoMatch, selection: &Selection) {
    let mut lines = none.lines();
    if let Some(first) = lines.first_mut() {
        first.push_str(selection.remedy(spec));
    }
    lines.iter().for_each(|line| print_line(format_args!("{}: {line}", spec.command)));
}

#[derive(Debug, PartialEq, Eq)]
enum Consent {
    Given,
    Ask,
    Missing,
}

fn consent(count: u64, yes: bool, is_terminal: bool) -> Consent {
    match (yes, is_terminal, count) {
        (true, ..) | (false, false, 0 | 1) => Consent::Given,
        (false, true, _) => Consent::Ask,
        (false, false, _) => Consent::Missing,
    }
}

/// Asks on the terminal.
#[expect(clippy::print_stderr, reason = "a question is not a line of the result")]
async fn asked(command: &str, count: u64) -> Result<bool, ServerError> {
    eprint!("{command} {count} dead letters? [y/N] ");
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        // Without an answer, nothing is changed.
        std::io::stdin().read_line(&mut line).map_or_else(|_| String::new(), |_| line)
    });
    let answer = answer.await.map_err(|error| ServerError::fatal("task_panicked", error))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_dead_letter_needs_a_yes_or_a_terminal() {
        for (count, yes, is_terminal, expected) in [
            (1, false, false, Consent::Given),
            (2, false, false, Consent::Missing),
            (2, true, false, Consent::Given),
            (1, false, true, Consent::Ask),
            (9, true, true, Consent::Given),
        ] {
            assert_eq!(consent(count, yes, is_terminal), expected, "{count} {yes} {is_terminal}");
        }
    }

    #[test]
    fn dead_letters_in_other_states_are_counted_apart() {
        let count = |state: &str, letters, last_failed_at_ms| StateCount {
            state_name: state.to_owned(),
            letters,
            last_failed_at_ms,
        };
        let counts = vec![count("open", 3, 9), count("parked", 1, 5), count("pending", 7, 99)];
        let from = [DeadLetterState::Open, DeadLetterState::Parked];
        let expected = Selection {
            selected: 4,
            last_failed_at_ms: 9,
            others: vec![("pending".to_owned(), 7)],
        };
        assert_eq!(Selection::new(counts, &from), expected);
    }
}
