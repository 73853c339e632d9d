//! Queries of clicks, as most panels ask them.

use crate::generate::clock;
use crate::generate::comparison::{self, IN_BEFORE, IN_BOTH, IN_RANGE};
use crate::generate::filter::Filter;

/// The choice of people, bots or everyone, over `clicks AS c`.
pub(crate) const TRAFFIC: &str = "('${traffic:percentencode}' = 'all' \
    OR c.is_bot = ('${traffic:percentencode}' = 'bots'))";

/// The conditions of all filters, a line each, after other conditions.
pub(crate) fn filters() -> String {
    filters_but(&[])
}

/// The conditions of all filters but some.
fn filters_but(ignored: &[Filter]) -> String {
    let used = Filter::ALL.into_iter().filter(|filter| !ignored.contains(filter));
    used.map(|filter| format!("\n  AND {}", filter.condition())).collect()
}

/// The definitions of the range, and of the one that is compared with, at the start of a query.
pub(crate) fn with_ranges() -> String {
    format!("WITH\n{},\n{}\n", clock::RANGE, comparison::DEFINITIONS)
}

/// The clicks of one or both ranges that match the filters and are of the chosen traffic.
pub(crate) fn from_clicks(range: &str) -> String {
    from_clicks_but(range, &[])
}

fn from_clicks_but(range: &str, ignored: &[Filter]) -> String {
    format!("FROM clicks AS c\nWHERE {range}\n  AND {TRAFFIC}{}", filters_but(ignored))
}

/// The clicks of one or both ranges that match the filters, of people and bots.
pub(crate) fn from_everyone(range: &str) -> String {
    format!("FROM clicks AS c\nWHERE {range}{}", filters())
}

/// A list of values with their clicks, shares and changes.
#[derive(Debug, Clone)]
pub(crate) struct BarList {
    /// The name of each column of values, and its SQL.
    dimensions: Vec<(&'static str, String)>,
    /// A condition that clicks of the list meet, in addition to the filters.
    of: Option<&'static str>,
    /// A condition on rows of the result: rows that do not meet it count for shares, and are not shown.
    shown: Option<&'static str>,
    /// Filters that the list does not follow.
    ignored: Vec<Filter>,
    /// Further columns, after the clicks.
    more: Vec<(&'static str, String)>,
    /// It reads the clicks of people and bots, whatever traffic is chosen.
    of_everyone: bool,
    limit: u32,
}

impl BarList {
    /// The most frequent values, or combinations of values, of filters.
    pub(crate) fn of(filters: &[Filter], limit: u32) -> Self {
        let dimensions = filters.iter().map(|filter| (filter.variable(), filter.label())).collect();
        Self {
            dimensions,
            of: None,
            shown: None,
            ignored: Vec::new(),
            more: Vec::new(),
            of_everyone: false,
            limit,
        }
    }

    /// Reads the clicks of people and bots, whatever traffic is chosen.
    #[must_use]
    pub(crate) fn of_everyone(self) -> Self {
        Self { of_everyone: true, ..self }
    }

    /// Reads only clicks that meet a condition over `clicks AS c`.
    #[must_use]
    pub(crate) fn only(mut self, condition: &'static str) -> Self {
        self.of = Some(condition);
        self
    }

    /// Shows only rows that meet a condition over the columns of the list.
    #[must_use]
    pub(crate) fn shown(mut self, condition: &'static str) -> Self {
        self.shown = Some(condition);
        self
    }

    /// Does not follow some filters.
    #[must_use]
    pub(crate) fn ignoring(mut self, filters: &[Filter]) -> Self {
        self.ignored = filters.to_vec();
        self
    }

    /// Adds a column.
    #[must_use]
    pub(crate) fn more(mut self, name: &'static str, sql: &str) -> Self {
        self.more.push((name, sql.to_owned()));
        self
    }

    /// The query.
    pub(crate) fn sql(&self) -> String {
        let column = |(name, sql): &(&str, String)| format!("    {sql} AS {name},\n");
        let names: Vec<_> = self.dimensions.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let more: String = self.more.iter().map(|(name, _)| format!("  {name},\n")).collect();
        let of = self.of.map(|condition| format!("\n  AND {condition}")).unwrap_or_default();
        let shown = self.shown.map(|condition| format!("WHERE {condition}\n")).unwrap_or_default();
        format!(
            "{with}SELECT {names},\n  clicks,\n{more}  share,\n  {change} AS change\n\
            FROM\n(\n  SELECT\n{dimensions}    countIf({IN_RANGE}) AS clicks,\n\
            {more_sql}    countIf({IN_BEFORE}) AS clicks_before,\n    \
            clicks / sum(clicks) OVER () AS share\n  {from}{of}\n  \
            GROUP BY {names}\n  HAVING clicks > 0\n)\n\
            {shown}ORDER BY clicks DESC, {names}\nLIMIT {limit}",
            with = with_ranges(),
            change = comparison::change("clicks", "clicks_before"),
            dimensions = self.dimensions.iter().map(column).collect::<String>(),
            more_sql = self.more.iter().map(column).collect::<String>(),
            from = match self.of_everyone {
                true => from_everyone(IN_BOTH),
                false => from_clicks(IN_BOTH),
            },
            limit = self.limit,
        )
    }
}
