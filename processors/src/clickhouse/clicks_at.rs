//! The clicks of the time of a dead letter in the table.

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use serde::Deserialize;

use crate::clickhouse::origin_columns::is_one_of;
use crate::clickhouse::server::{Server, server_error};

/// How many clicks occurred at one microsecond.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ClicksAt {
    /// How many.
    pub clicks: u64,
    /// Event id of one of them, 32 hexadecimal digits.
    pub example_id: String,
}

/// Counts the clicks that occurred at this time, microseconds since 1970, without those of the copies of
/// `letter`: a repair gave them an event id. The table is in the order of times, so that the server reads
/// a few thousand rows.
///
/// # Errors
/// The server's refusal.
pub async fn clicks_at(
    server: &Server,
    letter: &Origin,
    occurred_at_us: i64,
) -> Result<ClicksAt, ServerError> {
    let text = clicks_text(letter, occurred_at_us);
    server.client().query_raw(&text).fetch_one().await.map_err(server_error)
}

fn clicks_text(letter: &Origin, occurred_at_us: i64) -> String {
    let of_letter = is_one_of([letter]);
    format!(
        "SELECT count() AS clicks, lower(hex(any(event_id))) AS example_id FROM clicks \
         WHERE occurred_at = fromUnixTimestamp64Micro(toInt64({occurred_at_us}), 'UTC') \
         AND event_id NOT IN (SELECT event_id FROM dead_letter_events WHERE {of_letter} \
         UNION ALL SELECT event_id FROM dead_letter_repairs WHERE {of_letter})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_click_of_a_copy_of_the_dead_letter_itself_is_not_named() {
        let text = clicks_text(&"t:3:41:1000".parse().unwrap(), 7);
        for table in ["dead_letter_events", "dead_letter_repairs"] {
            let ids = format!("SELECT event_id FROM {table} WHERE (origin_topic, ");
            assert!(text.contains(&ids), "{text}");
        }
        assert!(text.contains("toInt64(7)") && text.contains("NOT IN"), "{text}");
    }
}
