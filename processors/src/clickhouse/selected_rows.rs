//! The rows of the view `clicks` that an operator selects for a replay, as offsets of their records.

use std::collections::BTreeMap;

use broker::ServerError;
use clickhouse::{Client, Row};
use records::replay::log_range::LogRange;
use records::replay::pinned_rules::PinnedRules;
use records::replay::row_selection::{RowSelection, StaleRules};
use records::replay::selected_offsets::{CELL_OFFSETS, SelectedOffsets};
use serde::Deserialize;

use crate::clickhouse::row_condition::{check, refused, selection_error};
use crate::clickhouse::server::Server;
use crate::clickhouse::shard_readers::ShardReaders;
use crate::clickhouse::sql_text::quoted;
use crate::shards::cluster::Cluster;

/// Longest time of a query that reads a column of all rows.
const SECONDS_MAX: &str = "300";
/// Most rows of an answer: of selected rows, a row for each cell of offsets.
const ROWS_MAX: &str = "1000000";

/// What an operator selects.
#[derive(Debug, Default)]
pub(crate) struct SelectedRows {
    /// Where the records of the rows are, as far as the log holds them.
    pub(crate) offsets: Vec<SelectedOffsets>,
    /// Rows whose records the log holds.
    pub(crate) rows: u64,
    /// Rows whose records the log does not hold.
    pub(crate) expired: u64,
}

#[derive(Row, Deserialize)]
struct CellRow {
    partition_number: u32,
    is_held: u8,
    first_offset: u64,
    last_offset: u64,
    row_count: u64,
}

/// A client whose statements change nothing, call no table function that reads from elsewhere, and end in bounded time
/// with a bounded answer.
pub(super) fn reading(server: &Server) -> Client {
    let settings = [
        ("readonly", "1"),
        ("max_execution_time", SECONDS_MAX),
        ("max_result_rows", ROWS_MAX),
        ("result_overflow_mode", "throw"),
    ];
    settings
        .iter()
        .fold(server.client(), |client, (name, value)| client.with_setting(*name, *value))
}

/// The rows of `topic` that meet a condition of [`condition`]. `held` is what the log holds of each partition.
///
/// # Errors
/// The server refuses the condition, or does not answer.
pub(crate) async fn selected_rows(
    cluster: &Cluster,
    topic: &str,
    condition: &str,
    held: &BTreeMap<i32, LogRange>,
) -> Result<SelectedRows, ServerError> {
    let readers = ShardReaders::open(cluster).await?;
    let text = query_text(Selection { topic, condition, view: readers.view() }, held);
    let ask = async |_: usize, server: &Server| {
        // Without the setting, a name that the condition gives to an expression would replace the column of that name
        // in the whole statement.
        let client = reading(server).with_setting("prefer_column_name_to_alias", "1");
        check(&client, condition).await?;
        client.query_raw(&text).fetch_all::<CellRow>().await.map_err(refused)
    };
    let rows = readers.each(ask).await?.into_iter().flatten();
    let mut selected = SelectedRows::default();
    for CellRow { partition_number, is_held, first_offset, last_offset, row_count } in rows {
        let offset = |offset: u64| i64::try_from(offset).ok();
        let partition = i32::try_from(partition_number).ok();
        match (partition, offset(first_offset), offset(last_offset)) {
            (Some(partition), Some(first), Some(last)) if is_held != 0 => {
                selected.offsets.push(SelectedOffsets { partition, first, last });
                selected.rows += row_count;
            }
            _ => selected.expired += row_count,
        }
    }
    Ok(selected)
}

/// What the rows of a selection have.
#[derive(Debug, Clone, Copy)]
struct Selection<'a> {
    topic: &'a str,
    condition: &'a str,
    view: &'a str,
}

/// The operator's condition has lines of its own, so that a comment at its end hides nothing.
fn query_text(of: Selection<'_>, held: &BTreeMap<i32, LogRange>) -> String {
    let Selection { topic, condition, view } = of;
    let list = |numbers: Vec<String>, kind: &str| {
        format!("CAST([{}], 'Array({kind})')", numbers.join(", "))
    };
    let partitions = list(held.keys().map(i32::to_string).collect(), "UInt32");
    let bounds = |bound: fn(&LogRange) -> i64| {
        list(held.values().map(|own| bound(own).to_string()).collect(), "UInt64")
    };
    let (lows, highs) = (bounds(|own| own.first), bounds(|own| own.end));
    let topic = quoted(topic);
    format!(
        "SELECT kafka_partition AS partition_number, \
         toUInt8(kafka_offset >= transform(kafka_partition, {partitions}, {lows}, toUInt64(0)) AND \
         kafka_offset < transform(kafka_partition, {partitions}, {highs}, toUInt64(0))) AS is_held, \
         min(kafka_offset) AS first_offset, max(kafka_offset) AS last_offset, count() AS row_count \
         FROM (SELECT kafka_topic, kafka_partition, kafka_offset FROM {view} WHERE (\n{condition}\n)) \
         WHERE kafka_topic = {topic} \
         GROUP BY kafka_partition, intDiv(kafka_offset, {CELL_OFFSETS}), is_held"
    )
}

/// The condition that a row is selected. `rules` are those of the replay.
///
/// # Errors
/// The rules folder has no table of which the selection compares the version.
pub(crate) fn condition(
    selection: &RowSelection,
    rules: &PinnedRules,
) -> Result<String, ServerError> {
    let stale = match selection {
        RowSelection::Where(condition) => return Ok(condition.clone()),
        RowSelection::Stale(stale) => stale,
    };
    let differs = |own: &StaleRules| {
        let (column, version) = match own {
            StaleRules::Code => return Ok(format!("enrich_version != {}", rules.program)),
            StaleRules::Geo => ("geo_db_build", &rules.geo),
            StaleRules::Agents => ("ua_rules_version", &rules.user_agents),
            StaleRules::Bots => ("bot_rules_version", &rules.crawlers),
            StaleRules::Referrers => ("referrer_rules_version", &rules.referrers),
        };
        match version.as_str() {
            "" => Err(selection_error(format!(
                "the rules folder has no table for --stale {}: set CLICKTRAIL_RULES to the folder that \
                 `processors run` uses",
                own.name()
            ))),
            version => Ok(format!("{column} != {}", quoted(version))),
        }
    };
    Ok(stale.iter().map(differs).collect::<Result<Vec<_>, _>>()?.join(" OR "))
}

#[cfg(test)]
mod tests {
    use records::enrich::rule_set::RuleSet;

    use super::*;

    #[test]
    fn a_condition_cannot_select_rows_of_another_topic() {
        let held = BTreeMap::from([
            (0, LogRange { first: 5, end: 9 }),
            (2, LogRange { first: 0, end: 7 }),
        ]);
        let text = query_text(
            Selection { topic: "t'", condition: "url LIKE '%?%' -- mine", view: "clicks" },
            &held,
        );
        assert!(text.contains("WHERE (\nurl LIKE '%?%' -- mine\n)) WHERE kafka_topic = 't\\x27'"));
        assert!(
            text.contains("CAST([0, 2], 'Array(UInt32)'), CAST([5, 0], 'Array(UInt64)')"),
            "{text}"
        );
    }

    #[test]
    fn stale_rows_are_those_of_other_versions_than_the_plan_has() {
        let rules = PinnedRules { geo: "a b'".into(), ..PinnedRules::of(&RuleSet::default()) };
        let of = |stale: &[StaleRules]| condition(&RowSelection::Stale(stale.to_vec()), &rules);
        let text = of(&[StaleRules::Code, StaleRules::Geo]).unwrap();
        assert_eq!(
            text,
            format!("enrich_version != {} OR geo_db_build != 'a b\\x27'", rules.program)
        );
        let refused = of(&[StaleRules::Geo, StaleRules::Bots]).unwrap_err();
        assert_eq!(refused.code, "replay_selection");
        assert!(refused.message.contains("--stale bots"), "{refused}");
        let own = RowSelection::Where("1".to_owned());
        assert_eq!(condition(&own, &rules).unwrap(), "1");
    }
}
