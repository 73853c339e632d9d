//! Changes of the state of many dead letters: the server selects them and adds their events, in one
//! statement that it applies as a whole.

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::state::DeadLetterState;
use serde::Deserialize;

use crate::clickhouse::dead_letter_events::EventKind;
use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::origin_columns::KEY;
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::sql_text::quoted;

/// Dead letters of one state.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct StateCount {
    /// Name of the state.
    pub state_name: String,
    /// How many.
    pub letters: u64,
    /// Their newest failure, milliseconds since 1970.
    pub last_failed_at_ms: i64,
}

/// How many dead letters meet `condition`, by state.
///
/// # Errors
/// The server's refusal.
pub async fn states(server: &Server, condition: &str) -> Result<Vec<StateCount>, ServerError> {
    let text = format!(
        "SELECT toString(state) AS state_name, count() AS letters, \
         toUnixTimestamp64Milli(max(last_failed_at)) AS last_failed_at_ms \
         FROM dead_letters WHERE {condition} GROUP BY state ORDER BY state_name"
    );
    server.client().query_raw(&text).fetch_all().await.map_err(server_error)
}

/// A change of dead letters.
#[derive(Debug, Clone)]
pub struct StateChange<'a> {
    /// The event of each.
    pub kind: EventKind,
    /// Only dead letters in these states.
    pub from: &'a [DeadLetterState],
    /// Only dead letters whose newest failure is not after this (milliseconds since 1970): those that the
    /// operator was shown.
    pub last_failed_at_ms: i64,
    /// User.
    pub actor: &'a str,
    /// Why, in the words of the operator.
    pub reason: &'a str,
}

/// Adds the event to each dead letter that meets `condition`. The same change again adds none.
///
/// # Errors
/// The server's refusal.
pub async fn change_states(
    server: &Server,
    condition: &str,
    change: &StateChange<'_>,
) -> Result<(), ServerError> {
    let mut client = server.client();
    for (name, value) in PINNED.iter().chain([&WAIT]) {
        client = client.with_setting(*name, *value);
    }
    client.query_raw(&insert(condition, change)).execute().await.map_err(server_error)
}

fn insert(condition: &str, change: &StateChange<'_>) -> String {
    let StateChange { kind, from, last_failed_at_ms, actor, reason } = change;
    let from: Vec<String> = from.iter().map(|state| quoted(state.name())).collect();
    format!(
        "INSERT INTO dead_letter_events ({KEY}, kind, redrive, job, event_id, occurred_at, actor, reason) \
         SELECT {KEY}, {}, 0, '', toFixedString('', 16), toDateTime64(0, 6, 'UTC'), {}, {} \
         FROM dead_letters WHERE ({condition}) AND state IN ({}) \
         AND last_failed_at <= fromUnixTimestamp64Milli(toInt64({last_failed_at_ms}), 'UTC')",
        quoted(kind.name()),
        quoted(actor),
        quoted(reason),
        from.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_statement_of_the_states_it_applies_to_and_escapes_its_texts() {
        let change = StateChange {
            kind: EventKind::Discarded,
            from: &[DeadLetterState::Open, DeadLetterState::Parked],
            last_failed_at_ms: 1000,
            actor: "o'neil",
            reason: "a?b",
        };
        let text = insert("a OR b", &change);
        for part in [
            "SELECT origin_topic, origin_partition, origin_offset, origin_logged_at, 'discarded', 0, ",
            r", 'o\x27neil', 'a\x3Fb' FROM dead_letters WHERE (a OR b) AND state IN ('open', 'parked')",
            " AND last_failed_at <= fromUnixTimestamp64Milli(toInt64(1000), 'UTC')",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('?'), "{text}");
    }
}
