//! Queries of clicks, as most panels ask them.

use crate::generate::click_source::{clicks_of_both, clicks_of_range};
use crate::generate::clock;
use crate::generate::comparison::{self, IN_BEFORE, IN_RANGE};
use crate::generate::filter::Filter;

/// The choice of people, bots or everyone, over `clicks AS c`.
pub(crate) const TRAFFIC: &str = "('${traffic:percentencode}' = 'all' \
    OR c.is_bot = ('${traffic:percentencode}' = 'bots'))";

/// The conditions of all filters, a line each, after other conditions.
pub(crate) fn filters() -> String {
    format!("\n  AND {}", filters_but(&[]))
}

/// The conditions of all filters but some.
fn filters_but(ignored: &[Filter]) -> String {
    let used = Filter::ALL.into_iter().filter(|filter| !ignored.contains(filter));
    used.map(Filter::condition).collect::<Vec<_>>().join("\n  AND ")
}

/// The definitions of the range, and of the one that is compared with, at the start of a query.
pub(crate) fn with_ranges() -> String {
    format!("WITH\n{},\n{}\n", clock::RANGE, comparison::DEFINITIONS)
}

/// The clicks that meet a condition on their time, match the filters and are of the chosen traffic.
pub(crate) fn from_clicks(during: &str) -> String {
    format!("FROM clicks AS c\nWHERE {during}\n  AND {TRAFFIC}{}", filters())
}

/// The clicks of the range that match the filters and are of the chosen traffic.
pub(crate) fn of_range() -> String {
    format!("{}\nWHERE {TRAFFIC}{}", clicks_of_range(), filters())
}

/// The clicks of both ranges that match the filters, of people and bots.
pub(crate) fn of_both() -> String {
    format!("{}\nWHERE {}", clicks_of_both(), filters_but(&[]))
}

/// A list of values with their clicks, shares and changes.
#[derive(Debug, Clone)]
pub(crate) struct BarList {
    /// Whose values it lists.
    dimensions: Vec<Filter>,
    /// A condition that clicks of the list meet, in addition to the filters.
    of: Option<&'static str>,
    /// Shares are of all clicks that match the filters, and not only of those of the list.
    share_of_all: bool,
    /// Filters that the list does not follow.
    ignored: Vec<Filter>,
    /// Further columns, after the clicks.
    more: Vec<(&'static str, String)>,
    /// It reads the clicks of people and bots, with any choice of traffic.
    of_everyone: bool,
    limit: u32,
}

impl BarList {
    /// The most frequent values, or combinations of values, of filters.
    pub(crate) fn of(filters: &[Filter], limit: u32) -> Self {
        Self {
            dimensions: filters.to_vec(),
            of: None,
            share_of_all: false,
            ignored: Vec::new(),
            more: Vec::new(),
            of_everyone: false,
            limit,
        }
    }

    /// Reads the clicks of people and bots, with any choice of traffic.
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

    /// Shares are of all clicks that match the filters, and not only of those of the list.
    #[must_use]
    pub(crate) fn share_of_all(self) -> Self {
        Self { share_of_all: true, ..self }
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

    /// What a click is counted by: its value, or for several values the sum of their hashes. The server computes both once
    /// for each text of a column's dictionary; counting by tuples of texts takes up to three times as long.
    fn key(&self) -> String {
        if let [only] = self.dimensions.as_slice() {
            return only.label();
        }
        let hash = |(at, filter): (u32, &Filter)| {
            format!("{} * cityHash64({})", 3_u32.pow(at), filter.label())
        };
        (0..).zip(&self.dimensions).map(hash).collect::<Vec<_>>().join(" + ")
    }

    /// The values of the clicks that have one key.
    fn values(&self) -> String {
        let any =
            |filter: &Filter| format!("    any({}) AS {},\n", filter.label(), filter.variable());
        match self.dimensions.as_slice() {
            [only] => format!("    value AS {},\n", only.variable()),
            several => several.iter().map(any).collect(),
        }
    }

    fn names(&self) -> String {
        self.dimensions.iter().map(|filter| filter.variable()).collect::<Vec<_>>().join(", ")
    }

    /// The query.
    pub(crate) fn sql(&self) -> String {
        let names = self.names();
        let more: String = self.more.iter().map(|(name, _)| format!("  {name},\n")).collect();
        format!(
            "{with}SELECT\n  {names},\n  clicks,\n{more}  share,\n  {change} AS change\n\
            FROM\n{counted}\nORDER BY clicks DESC, {names}\nLIMIT {limit}",
            with = with_ranges(),
            change = comparison::change("clicks", "clicks_before"),
            counted = self.counted(&self.values()),
            limit = self.limit,
        )
    }

    /// The query, with the visitors of the rows that are shown. A second step counts them, and finds the values, for these
    /// rows only: distinct visitors of each value take twice as long as its clicks.
    pub(crate) fn sql_with_visitors(&self) -> String {
        let names = self.names();
        let range = self.conditions(&clicks_of_range());
        format!(
            "{with},\n  (\n  SELECT groupArray((value, clicks, share, clicks_before))\n  FROM\n  (\n  \
            SELECT value, clicks, share, clicks_before\n  FROM\n{counted}\n  ORDER BY clicks DESC, value\n  LIMIT {limit}\n  )\n  ) AS top\n\
            SELECT\n  {names},\n  row.2 AS clicks,\n  visitors,\n  row.3 AS share,\n  {change} AS change\n\
            FROM (SELECT arrayJoin(top) AS row, row.1 AS value) AS ranked\n\
            INNER JOIN\n(\n  SELECT\n    {key} AS value,\n{values}    \
            uniqIf(c.visitor_id, c.visitor_id != 0) AS visitors\n  {range}\n  AND {TRAFFIC}\n  \
            AND {key} IN (SELECT arrayJoin(top).1)\n  GROUP BY value\n) AS counted USING (value)\n\
            ORDER BY clicks DESC, {names}",
            with = with_ranges().trim_end(),
            change = comparison::change("row.2", "row.4"),
            counted = self.counted(""),
            key = self.key(),
            values = self.values(),
            limit = self.limit,
        )
    }

    /// The clicks of each key in both ranges.
    fn counted(&self, values: &str) -> String {
        let wanted = |range: &str| match self.of_everyone {
            true => range.to_owned(),
            false => format!("{range} AND {TRAFFIC}"),
        };
        let more = self.more.iter().map(|(name, sql)| format!("    {sql} AS {name},\n"));
        format!(
            "(\n  SELECT\n    {key} AS value,\n{values}    countIf({in_range}) AS clicks,\n\
            {more}    countIf({in_before}) AS clicks_before,\n    \
            clicks / {all} AS share\n  {from}\n  \
            GROUP BY value\n  HAVING clicks > 0\n)",
            key = self.key(),
            in_range = wanted(IN_RANGE),
            in_before = wanted(IN_BEFORE),
            more = more.collect::<String>(),
            all = match self.share_of_all {
                true => format!("(\n    SELECT count() {}\n    )", of_range()),
                false => "sum(clicks) OVER ()".to_owned(),
            },
            from = self.conditions(&clicks_of_both()),
        )
    }

    /// Clicks that meet the conditions of the list.
    fn conditions(&self, from: &str) -> String {
        let of = self.of.map(|condition| format!("\n  AND {condition}")).unwrap_or_default();
        format!("{from}\nWHERE {}{of}", filters_but(&self.ignored))
    }
}
