//! Counts of clicks over time, in the buckets of the viewer's clock.

use crate::generate::click_query::filters;
use crate::generate::clock;
use crate::generate::comparison::DURING_RANGE;

/// A column `time` and one for each name and condition over `clicks AS c`: the clicks that meet the condition, zero where
/// there are none.
pub(crate) fn click_series(columns: &[(&str, &str)]) -> String {
    let joined =
        |form: &dyn Fn(&(&str, &str)) -> String| columns.iter().map(form).collect::<String>();
    let sums = joined(&|(name, _)| format!(",\n  sum(of_{name}) AS {name}"));
    let inner = joined(&|(name, _)| format!(", of_{name}"));
    let counts = joined(&|(name, condition)| format!(",\n      sum({condition}) AS of_{name}"));
    let zeros = joined(&|_| ", 0".to_owned());
    format!(
        "WITH\n{range},\n  {step}\nSELECT {bucket} AS time{sums}\nFROM\n(\n  \
        SELECT toDateTime(slot, zone) AS moment{inner}\n  FROM\n  (\n    \
        SELECT {slot} AS slot{counts}\n    FROM clicks AS c\n    WHERE {DURING_RANGE}{filters}\n    GROUP BY slot\n  )\n  \
        UNION ALL\n  SELECT toDateTime({every}, zone){zeros}\n)\nGROUP BY time\nORDER BY time",
        range = clock::RANGE,
        step = clock::STEP,
        bucket = clock::bucket("moment"),
        slot = clock::slot("toUnixTimestamp(c.occurred_at)"),
        every = clock::EVERY_BUCKET,
        filters = filters(),
    )
}
