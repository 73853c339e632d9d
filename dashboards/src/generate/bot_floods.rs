//! The panels of *Bots* that compare an hour with the same hour of the weeks before.

use serde_json::json;

use crate::generate::click_panels::values;
use crate::generate::click_query::filters;
use crate::generate::clock;
use crate::generate::column::Column;
use crate::generate::filter::Filter;
use crate::generate::look::{Colour, Unit};
use crate::generate::panel::Panel;
use crate::generate::table::table;
use crate::generate::time_series::time_series;

/// Weeks that the usual is taken of.
const WEEKS: u32 = 4;
/// A flood has this many times the usual clicks of its hour, and at least so many clicks.
const TIMES: u32 = 3;
const CLICKS: u32 = 20;

/// Whether a click is within two moments, or within the same time of one of the weeks before. Weeks are those of the
/// viewer's calendar.
fn weeks(begin: &str, until: &str) -> String {
    let week = |number: u32| {
        let days = 7 * number;
        format!(
            "(c.occurred_at >= subtractDays({begin}, {days}) AND c.occurred_at < subtractDays({until}, {days}))"
        )
    };
    format!("({})", (0..=WEEKS).map(week).collect::<Vec<_>>().join("\n    OR "))
}

/// The usual of `counts`, whose first one is of this week: the median of the others. A week of whose time the table has no
/// click of a machine at all is left out, because the table may be younger; without any week it is NULL. `totals` are
/// therefore counted without the viewer's filters: a table with few clicks of a value is not younger.
const USUAL: &str = "\
if(arrayExists(t -> t > 0, arraySlice(totals, 2)),
    arrayReduce('quantileExactInclusive(0.5)', arrayFilter((n, t) -> t > 0, arraySlice(counts, 2), arraySlice(totals, 2))),
    NULL)";

/// The definition of `matches` for `WITH`: whether a click matches the filters. Clicks that do not match are counted in
/// `totals` only.
fn matches() -> String {
    format!("(1{}) AS matches", filters())
}

/// `counts` of each week from a condition on the number of weeks.
fn counts(of_week: impl Fn(u32) -> String) -> String {
    format!("[{}]", (0..=WEEKS).map(of_week).collect::<Vec<_>>().join(", "))
}

/// Clicks of machines an hour, beside the usual.
pub(crate) fn against_the_usual() -> Panel {
    let description = format!(
        "Clicks of machines an hour, and the usual: the median of the same hour of the week in the last {WEEKS} weeks, in your \
        time zone. Far above the usual is a flood."
    );
    let sql = format!(
        "WITH\n{range},\n  3600 AS step,\n  {matches}\nSELECT time, counts[1] AS bots, {USUAL} AS usual\nFROM\n(\n  \
        SELECT {bucket} AS time, {counts} AS counts, sumForEach({everyone}) OVER () AS totals\n  FROM\n  (\n    \
        SELECT addDays(toDateTime(slot, zone), 7 * week) AS moment, week, clicks, everyone\n    FROM\n    (\n      \
        SELECT {slot} AS slot, countIf(matches) AS clicks, count() AS everyone\n      FROM clicks AS c\n      \
        WHERE {weeks}\n        AND c.is_bot\n      GROUP BY slot\n    )\n    \
        ARRAY JOIN range({all}) AS week\n    WHERE moment >= begin AND moment < until\n    \
        UNION ALL\n    SELECT toDateTime({every}, zone), 0, 0, 0\n  )\n  GROUP BY time\n)\nORDER BY time",
        range = clock::RANGE,
        bucket = clock::bucket("moment"),
        matches = matches(),
        counts = counts(|week| format!("sumIf(clicks, week = {week})")),
        everyone = counts(|week| format!("sumIf(everyone, week = {week})")),
        slot = clock::slot("toUnixTimestamp(c.occurred_at)"),
        weeks = weeks("begin", "until"),
        all = WEEKS + 1,
        every = clock::EVERY_BUCKET,
    );
    time_series("Bots against the usual", &description)
        .no_value("No machine came in this time range")
        .column(&Column::new("bots", "Bots", Unit::Short).colour(Colour::Bots))
        .column(
            &Column::new("usual", "Usual", Unit::Short)
                .colour(Colour::Before)
                .property("custom.lineStyle", json!({ "fill": "dash", "dash": [6, 6] }))
                .property("custom.fillOpacity", json!(0)),
        )
        .series(&sql)
        .size(12, 9)
}

/// Machines that made far more clicks in the last hour than is usual.
pub(crate) fn floods(dashboard: &str) -> Panel {
    let description = format!(
        "Machines that made at least {CLICKS} clicks in the last hour of the time range, and {TIMES} times the usual or more: the \
        median of the same hour of the week in the last {WEEKS} weeks, of the clicks that match the filters. Times the usual: clicks by the usual. No baseline: this machine \
        usually has no click in this hour. Where the table has no click of any machine in these weeks, nothing is shown."
    );
    let hour = |and: &'static str| {
        move |week: u32| {
            let days = 7 * week;
            format!(
                "countIf(c.occurred_at >= subtractDays(hour, {days}) AND c.occurred_at < subtractDays(until, {days}){and})"
            )
        }
    };
    let sql = format!(
        "WITH\n{range},\n  subtractHours(until, 1) AS hour,\n  {matches}\n\
        SELECT bot_name, bot_class, counts[1] AS clicks, {USUAL} AS usual, clicks / nullIf(usual, 0) AS times\nFROM\n(\n  \
        SELECT\n    {name} AS bot_name,\n    {class} AS bot_class,\n    {counts} AS counts,\n    \
        sumForEach({everyone}) OVER () AS totals\n  FROM clicks AS c\n  WHERE {weeks}\n    AND c.is_bot\n  \
        GROUP BY bot_name, bot_class\n)\nWHERE isNotNull(usual) AND clicks >= {CLICKS} AND (usual = 0 OR times >= {TIMES})\n\
        ORDER BY times DESC NULLS FIRST, clicks DESC, bot_name, bot_class\nLIMIT 20",
        range = clock::RANGE,
        name = Filter::BotName.label(),
        class = Filter::BotClass.label(),
        matches = matches(),
        counts = counts(hour(" AND matches")),
        everyone = counts(hour("")),
        weeks = weeks("hour", "until"),
    );
    let no_baseline = json!({
        "type": "special",
        "options": { "match": "null", "result": { "text": "no baseline", "color": Colour::Before.name() } },
    });
    table("Floods in the last hour", &description)
        .no_value("No flood: no machine made far more clicks than usual")
        .column(&values(dashboard, Filter::BotName))
        .column(&values(dashboard, Filter::BotClass))
        .column(&Column::bar("clicks", "Clicks"))
        .column(&Column::count("usual", "Usual"))
        .column(
            &Column::new("times", "Times the usual", Unit::Short)
                .property("mappings", json!([no_baseline]))
                .colour(Colour::Bad)
                .width(120),
        )
        .sql(&sql)
        .size(12, 9)
}
