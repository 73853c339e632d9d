//! The rows that the view shows of some clicks, as texts.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::server::{Server, within};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::replay::compared_columns::compared_columns;
use crate::replay::planned_row::ClickKey;

/// Clicks in one look-up: as many as ClickHouse's default `max_query_size` allows.
pub(crate) const LOOKUP_CLICKS: usize = 4_000;
/// Bounds a look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Row, Deserialize)]
struct CurrentRow {
    occurred_at_us: i64,
    event_id: [u8; 16],
    texts: Vec<String>,
}

/// The compared columns of each of these clicks of which the view shows a row, of any topic: an insert replaces
/// the row of its key on its shard. At most [`LOOKUP_CLICKS`].
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn current_rows(
    readers: &ShardReaders,
    keys: &[ClickKey],
) -> Result<HashMap<ClickKey, Vec<String>>, ServerError> {
    debug_assert!(keys.len() <= LOOKUP_CLICKS);
    let of_shard = readers.by_owner(keys, |key| key.event_id);
    let ask = async |shard: usize, server: &Server| {
        let Some(text) = text(&of_shard[shard], readers.view()) else { return Ok(Vec::new()) };
        let client = server.client();
        within(LOOKUP_TIMEOUT, client.query_raw(&text).fetch_all::<CurrentRow>()).await
    };
    let rows = readers.each(ask).await?;
    let addresses = compared_columns().iter().position(|column| column.name == "client_ip");
    let row = |row: CurrentRow| {
        let CurrentRow { occurred_at_us, event_id, mut texts } = row;
        if let Some(text) = addresses.and_then(|index| texts.get_mut(index)) {
            canonical(text);
        }
        (ClickKey { occurred_at_us, event_id }, texts)
    };
    Ok(rows.into_iter().flatten().map(row).collect())
}

/// Writes an address as this program does: ClickHouse writes `::1.2.3.4` for `::102:304`.
fn canonical(address: &mut String) {
    if let Ok(parsed) = address.parse::<Ipv6Addr>() {
        *address = parsed.to_string();
    }
}

/// The query; `None` without a click. The server finds rows by their keys, which are in the order of the table.
fn text(keys: &[ClickKey], view: &str) -> Option<String> {
    let first = keys.iter().map(|key| key.occurred_at_us).min()?;
    let last = keys.iter().map(|key| key.occurred_at_us).max()?;
    let columns = compared_columns().iter();
    let columns: Vec<_> = columns.map(|column| format!("toString(`{}`)", column.name)).collect();
    let mut literals = String::with_capacity(keys.len() * 51);
    for key in keys {
        literals.push_str(if literals.is_empty() { "'" } else { ",'" });
        key.to_bytes().iter().for_each(|byte| literals.push_str(&format!("{byte:02x}")));
        literals.push('\'');
    }
    Some(format!(
        "SELECT toUnixTimestamp64Micro(occurred_at) AS occurred_at_us, event_id, \
         CAST([{}], 'Array(String)') AS texts FROM {view} \
         WHERE occurred_at >= fromUnixTimestamp64Micro(toInt64({first})) \
         AND occurred_at <= fromUnixTimestamp64Micro(toInt64({last})) \
         AND (occurred_at, event_id) IN (SELECT \
         fromUnixTimestamp64Micro(reinterpretAsInt64(reverse(substring(key, 1, 8))), 'UTC'), \
         toFixedString(substring(key, 9, 16), 16) FROM (SELECT unhex(arrayJoin([{literals}])) AS key))",
        columns.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_look_up_is_shorter_than_the_servers_default_bound() {
        assert_eq!(text(&[], "clicks"), None);
        let key = |number: usize| ClickKey {
            occurred_at_us: i64::MAX,
            event_id: (number as u128).to_be_bytes(),
        };
        let keys: Vec<_> = (0..LOOKUP_CLICKS).map(key).collect();
        let text = text(&keys, "shard_clicks").unwrap();
        assert!(text.len() < 262_144, "{}", text.len());
        assert!(text.contains("['7fffffffffffffff00000000000000000000000000000000','7f"), "{text}");
    }

    #[test]
    fn an_address_is_written_in_one_form() {
        for (text, expected) in
            [("::1.2.3.4", "::102:304"), ("::ffff:1.2.3.4", "::ffff:1.2.3.4"), ("", "")]
        {
            let mut address = text.to_owned();
            canonical(&mut address);
            assert_eq!(address, expected);
        }
    }
}
