//! The rows of the view `clicks` whose records are in the ranges of a replay: how many, of which days, and the
//! versions of the rules that made them.

use std::collections::{BTreeMap, BTreeSet};

use broker::ServerError;
use clickhouse::Row;
use records::replay::log_range::LogRange;
use records::replay::occurred_window::OccurredWindow;
use records::replay::pinned_rules::PinnedRules;
use serde::Deserialize;

use crate::clickhouse::selected_rows::reading;
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::clickhouse::sql_text::quoted;
use crate::shards::cluster::Cluster;

/// The rows that a replay rewrites.
#[derive(Debug, Default)]
pub(crate) struct RangeRows {
    /// Their days, in days since 1970.
    pub(crate) days: BTreeSet<u32>,
    /// The rules that made them, each with the number of its rows.
    pub(crate) versions: Vec<(PinnedRules, u64)>,
}

impl RangeRows {
    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        self.versions.iter().map(|(_, rows)| rows).sum()
    }

    fn add(&mut self, rows: VersionRow) {
        self.days.extend(rows.days);
        let rules = PinnedRules {
            program: rows.enrich_version,
            geo: rows.geo_db_build,
            user_agents: rows.ua_rules_version,
            crawlers: rows.bot_rules_version,
            referrers: rows.referrer_rules_version,
        };
        match self.versions.iter_mut().find(|(known, _)| *known == rules) {
            Some((_, count)) => *count += rows.row_count,
            None => self.versions.push((rules, rows.row_count)),
        }
    }
}

/// Which rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowRanges<'a> {
    pub(crate) topic: &'a str,
    pub(crate) ranges: &'a BTreeMap<i32, Vec<LogRange>>,
    /// `None`: clicks of any time.
    pub(crate) occurred: Option<OccurredWindow>,
}

#[derive(Row, Deserialize)]
struct VersionRow {
    enrich_version: u32,
    geo_db_build: String,
    ua_rules_version: String,
    bot_rules_version: String,
    referrer_rules_version: String,
    row_count: u64,
    days: Vec<u32>,
}

/// Counts the rows of the ranges.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn range_rows(
    cluster: &Cluster,
    of: RowRanges<'_>,
) -> Result<RangeRows, ServerError> {
    let readers = ShardReaders::open(cluster).await?;
    let Some(text) = query_text(of, readers.view()) else { return Ok(RangeRows::default()) };
    let ask = async |_: usize, server: &Server| {
        let rows = reading(server).query_raw(&text).fetch_all::<VersionRow>().await;
        rows.map_err(server_error)
    };
    let mut found = RangeRows::default();
    readers.each(ask).await?.into_iter().flatten().for_each(|rows| found.add(rows));
    Ok(found)
}

/// `None` without a range. The server joins each row with the last range that begins at or before it.
fn query_text(of: RowRanges<'_>, view: &str) -> Option<String> {
    let RowRanges { topic, ranges, occurred } = of;
    const RULES: &str = "enrich_version, geo_db_build, ua_rules_version, bot_rules_version, \
                         referrer_rules_version";
    let all = || ranges.iter().flat_map(|(own, ranges)| ranges.iter().map(move |it| (own, it)));
    let first = all().map(|(_, range)| range.first).min()?;
    let end = all().map(|(_, range)| range.end).max()?;
    let list: Vec<_> =
        all().map(|(own, range)| format!("({own}, {}, {})", range.first, range.end)).collect();
    let occurred = occurred_condition(occurred);
    Some(format!(
        "SELECT {RULES}, count() AS row_count, \
         groupUniqArray(toUInt32(toUInt16(toDate(occurred_at)))) AS days FROM \
         (SELECT {RULES}, occurred_at, kafka_partition, kafka_offset FROM {view} \
         WHERE kafka_topic = {} AND kafka_offset >= {first} AND kafka_offset < {end}{occurred}) \
         AS shown ASOF JOIN (SELECT planned.1 AS range_partition, planned.2 AS range_first, \
         planned.3 AS range_end FROM (SELECT arrayJoin(CAST([{}], \
         'Array(Tuple(UInt32, UInt64, UInt64))')) AS planned)) AS ranges \
         ON shown.kafka_partition = ranges.range_partition \
         AND shown.kafka_offset >= ranges.range_first \
         WHERE kafka_offset < range_end GROUP BY {RULES}",
        quoted(topic),
        list.join(", ")
    ))
}

/// The end of a condition: that clicks occurred in the window.
pub(super) fn occurred_condition(occurred: Option<OccurredWindow>) -> String {
    let time = |us: i64| format!("fromUnixTimestamp64Micro(toInt64({us}), 'UTC')");
    occurred.map_or_else(String::new, |OccurredWindow { from_us, to_us }| {
        let to = to_us.map(|us| format!(" AND occurred_at < {}", time(us))).unwrap_or_default();
        format!(" AND occurred_at >= {}{to}", time(from_us))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_ranges_and_of_the_window_of_occurrence() {
        let range = |first, end| LogRange { first, end };
        let ranges =
            BTreeMap::from([(0, vec![range(5, 9), range(20, 30)]), (2, vec![range(1, 3)])]);
        let occurred = Some(OccurredWindow { from_us: 7, to_us: Some(8) });
        let of = RowRanges { topic: "t", ranges: &ranges, occurred };
        let text = query_text(of, "shard_clicks").unwrap();
        for part in [
            "[(0, 5, 9), (0, 20, 30), (2, 1, 3)]",
            "kafka_topic = 't' AND kafka_offset >= 1 AND kafka_offset < 30 AND occurred_at >= ",
            "kafka_offset FROM shard_clicks WHERE",
            "toInt64(7), 'UTC') AND occurred_at < fromUnixTimestamp64Micro(toInt64(8), 'UTC')) AS",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = BTreeMap::new();
        let of = RowRanges { topic: "t", ranges: &none, occurred };
        assert!(query_text(of, "clicks").is_none());
    }

    #[test]
    fn rows_of_the_same_rules_on_several_shards_are_counted_together() {
        let rows = |program, row_count, day| VersionRow {
            enrich_version: program,
            geo_db_build: "g".to_owned(),
            ua_rules_version: String::new(),
            bot_rules_version: String::new(),
            referrer_rules_version: String::new(),
            row_count,
            days: vec![day],
        };
        let mut found = RangeRows::default();
        [rows(1, 2, 7), rows(2, 1, 7), rows(1, 3, 8)].into_iter().for_each(|it| found.add(it));
        let counts: Vec<_> = found.versions.iter().map(|(it, rows)| (it.program, *rows)).collect();
        assert_eq!((counts, found.rows()), (vec![(1, 5), (2, 1)], 6));
        assert_eq!(found.days, BTreeSet::from([7, 8]));
    }
}
