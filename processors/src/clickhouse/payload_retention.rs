//! How long `dead_letter_payloads` keeps the bytes of dead letters: the TTL of the table.

use std::num::NonZeroU16;

use broker::ServerError;

use crate::clickhouse::server::{Server, server_error};

const TABLE: &str = "dead_letter_payloads";

/// The days of a setting, or why it is refused.
///
/// # Errors
/// The text is not a number of days from 1 to 3,650.
pub(crate) fn days(text: &str) -> Result<NonZeroU16, String> {
    let days: u16 = text.parse().ok().filter(|days| *days <= 3_650).ok_or("1 to 3650 days")?;
    let why = "without payloads, `dlq show`, `dlq edit` and a redrive of what the dead-letter topic no \
               longer holds cannot work; the dashboards' user cannot read them, so keep them for at \
               least a day";
    NonZeroU16::new(days).ok_or_else(|| why.to_owned())
}

/// The statement that sets the TTL.
pub fn statement(days: NonZeroU16) -> String {
    format!("ALTER TABLE {TABLE} MODIFY TTL {}", ttl(days))
}

/// The TTL in the form in which the server shows it.
fn ttl(days: NonZeroU16) -> String {
    format!("stored_at + toIntervalDay({days})")
}

/// What differs from a TTL of `days`; `None` also if there is no such table.
///
/// # Errors
/// The server's refusal.
pub async fn difference(server: &Server, days: NonZeroU16) -> Result<Option<String>, ServerError> {
    // The database may not exist yet.
    let client = server.bare();
    let query = client
        .query("SELECT engine_full FROM system.tables WHERE database = ? AND name = ?")
        .bind(&server.database)
        .bind(TABLE);
    let engine: Option<String> = query.fetch_optional().await.map_err(server_error)?;
    Ok(engine.and_then(|engine| difference_of(&engine, days)))
}

/// As [`difference`], of a table with this engine.
fn difference_of(engine: &str, days: NonZeroU16) -> Option<String> {
    let shown = engine.split_once(" TTL ").map_or("none", |(_, shown)| shown);
    let shown = shown.split(" SETTINGS ").next().unwrap_or_default().trim();
    let wanted = ttl(days);
    (shown != wanted).then(|| format!("the TTL of {TABLE} is {shown}, not {wanted}"))
}

/// Sets the TTL if it differs; returns the change.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn ensure(
    server: &Server,
    days: NonZeroU16,
) -> Result<Option<String>, ServerError> {
    if difference(server, days).await?.is_none() {
        return Ok(None);
    }
    server.client().query(&statement(days)).execute().await.map_err(server_error)?;
    Ok(Some(format!("clickhouse: set the TTL of {TABLE} to {days} days")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_bounded_and_zero_is_refused_with_the_reason() {
        for good in [1, 90, 3_650] {
            assert_eq!(days(&good.to_string()).map(NonZeroU16::get), Ok(good));
        }
        for bad in ["", "-1", "1.5", "90d", "3651", "70000"] {
            assert!(days(bad).unwrap_err().contains("1 to 3650"), "{bad}");
        }
        assert!(days("0").unwrap_err().contains("without payloads"));
    }

    #[test]
    fn another_ttl_or_none_is_a_difference() {
        let days = NonZeroU16::new(90).unwrap();
        let engine = |ttl: &str| {
            format!("ReplacingMergeTree(precedence) ORDER BY (a, redrive){ttl} SETTINGS fsync = 1")
        };
        assert_eq!(difference_of(&engine(" TTL stored_at + toIntervalDay(90)"), days), None);
        for ttl in ["", " TTL stored_at + toIntervalDay(9)", " TTL at + toIntervalDay(90)"] {
            let found = difference_of(&engine(ttl), days).unwrap();
            assert!(found.ends_with("not stored_at + toIntervalDay(90)"), "{found}");
        }
        let without_settings = "ReplacingMergeTree ORDER BY a TTL stored_at + toIntervalDay(90)";
        assert_eq!(difference_of(without_settings, days), None);
    }
}
