//! Queries of clicks, as several panels ask them, and what their queries have in common.

use crate::generate::click_source::ClickRange;
use crate::generate::clock;
use crate::generate::comparison::{self, DURING_RANGE};
use crate::generate::filter::Filter;

/// The choice of people, bots or everyone, over `clicks AS c`.
pub(crate) const TRAFFIC: &str = "('${traffic:percentencode}' = 'all' \
    OR c.is_bot = ('${traffic:percentencode}' = 'bots'))";

/// The conditions of all filters, a line each, after other conditions.
pub(crate) fn filters() -> String {
    format!("\n  AND {}", filters_but(&[]))
}

/// The conditions of all filters but some.
pub(crate) fn filters_but(ignored: &[Filter]) -> String {
    let used = Filter::ALL.into_iter().filter(|filter| !ignored.contains(filter));
    used.map(Filter::condition).collect::<Vec<_>>().join("\n  AND ")
}

/// The definitions of the range, and of the one that is compared with, at the start of a query.
pub(crate) fn with_ranges() -> String {
    format!("WITH\n{},\n{}\n", clock::RANGE, comparison::DEFINITIONS)
}

/// The clicks of a range that match the filters, of people and bots.
pub(crate) fn matching(range: ClickRange) -> String {
    format!("{}\nWHERE {}", range.from(), filters_but(&[]))
}

/// A query of two rows, each with a time and figures over `clicks AS c`: those of the earlier range, from which a stat shows
/// the change, and those of the chosen one. In a figure, `wanted` states whether a click is of the chosen traffic.
pub(crate) fn totals(figures: &[(&str, impl AsRef<str>)]) -> String {
    let names = figures.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let row = |first: &str, range: ClickRange, form: &dyn Fn(&str) -> String| {
        let figures: String = figures
            .iter()
            .map(|(name, sql)| format!(",\n    {} AS {name}", form(sql.as_ref())))
            .collect();
        format!("  SELECT\n    {first}{figures}\n  {}", matching(range))
    };
    // A share of no clicks is NaN.
    let now = |figure: &str| format!("if(isNaN({figure}), 0, toFloat64({figure}))");
    format!(
        "{with},\n  {TRAFFIC} AS wanted\nSELECT toTimeZone(moment, 'UTC') AS time, {names}\nFROM\n(\n{earlier}\n  UNION ALL\n\
        {chosen}\n)\nORDER BY is_chosen",
        with = with_ranges().trim_end(),
        earlier = row(
            "0 AS is_chosen,\n    before_begin AS moment",
            ClickRange::Earlier,
            &comparison::earlier
        ),
        chosen = row("1 AS is_chosen,\n    begin AS moment", ClickRange::Chosen, &now),
    )
}

/// The newest clicks that meet a condition over `clicks AS c` and match the filters: their time and these columns. Where the
/// last hour has enough of them, only that is read; else a query of narrow columns finds the oldest that is shown, so that
/// wide columns are read of those only.
pub(crate) fn newest(condition: &str, columns: &str) -> String {
    const SHOWN: u32 = 50;
    let from =
        |during: &str| format!("FROM clicks AS c\n  WHERE {during} AND {condition}{}", filters());
    format!(
        "WITH\n{range},\n  greatest(begin, subtractHours(until, 1)) AS recent,\n  \
        (\n  SELECT count()\n  {recent}\n  ) >= {SHOWN} AS is_enough,\n  \
        (\n  SELECT min(moment)\n  FROM\n  (\n  SELECT c.occurred_at AS moment\n  {all}\n  \
        ORDER BY moment DESC\n  LIMIT {SHOWN}\n  )\n  ) AS oldest\n\
        SELECT c.occurred_at AS time,\n{columns}\n{shown}\nORDER BY time DESC\nLIMIT {SHOWN}",
        range = clock::RANGE,
        recent = from("c.occurred_at >= recent AND c.occurred_at < until"),
        all = from(&format!("NOT is_enough AND {DURING_RANGE}")),
        shown = from("c.occurred_at >= if(is_enough, recent, oldest) AND c.occurred_at < until"),
    )
}
