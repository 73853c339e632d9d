//! What most queries of clicks read: the clicks of the range, and of the one that is compared with, as `c`. The columns
//! `in_range` and `in_before` tell them apart; a click of both is read twice.
//!
//! The view `clicks_of_days` shows the clicks of `clicks`. Its column `day` (UTC) costs nothing to read, and selects
//! partitions: the time of each click is read only of the days in which a range begins or ends.

/// The clicks between two moments, which are names of `WITH`.
fn between(flags: &str, condition: &str, begin: &str, until: &str) -> String {
    let day = |moment: &str| format!("toDate({moment}, 'UTC')");
    let (first, last) = (day(begin), day(until));
    format!(
        "SELECT *, {flags} FROM clicks_of_days WHERE {condition}day > {first} AND day < {last}\n  UNION ALL\n  \
        SELECT *, {flags} FROM clicks_of_days WHERE {condition}day IN ({first}, {last}) \
        AND occurred_at >= {begin} AND occurred_at < {until}"
    )
}

/// The clicks of the range.
pub(crate) fn clicks_of_range() -> String {
    format!("FROM\n(\n  {}\n) AS c", of_range())
}

/// The clicks of the range and of the one that is compared with.
pub(crate) fn clicks_of_both() -> String {
    let flags = "0 AS in_range, 1 AS in_before";
    let before = between(flags, "compared AND ", "before_begin", "before_until");
    format!("FROM\n(\n  {}\n  UNION ALL\n  {before}\n) AS c", of_range())
}

fn of_range() -> String {
    between("1 AS in_range, 0 AS in_before", "", "begin", "until")
}
