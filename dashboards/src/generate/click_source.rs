//! What most queries of clicks read, as `c`: the clicks of a range, of people and bots.
//!
//! The view `clicks_of_days` shows the clicks of `clicks`. Its column `day` (UTC) costs nothing to read, and selects
//! partitions: the time of each click is read only of the days in which the range begins or ends.

/// The ranges of a dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClickRange {
    /// The time range that the viewer chose.
    Chosen,
    /// The one that it is compared with; it has no click where nothing is compared.
    Earlier,
}

impl ClickRange {
    /// The clicks of the range.
    pub(crate) fn from(self) -> String {
        let clicks = match self {
            Self::Chosen => between("", "begin", "until"),
            Self::Earlier => between("compared AND ", "before_begin", "before_until"),
        };
        format!("FROM\n(\n  {clicks}\n) AS c")
    }
}

/// The clicks between two moments, which are names of `WITH`.
fn between(condition: &str, begin: &str, until: &str) -> String {
    let day = |moment: &str| format!("toDate({moment}, 'UTC')");
    let (first, last) = (day(begin), day(until));
    format!(
        "SELECT * FROM clicks_of_days WHERE {condition}day > {first} AND day < {last}\n  UNION ALL\n  \
        SELECT * FROM clicks_of_days WHERE {condition}day IN ({first}, {last}) \
        AND occurred_at >= {begin} AND occurred_at < {until}"
    )
}
