//! The query of a list of values with their clicks, shares and changes.

use crate::generate::click_query::{TRAFFIC, filters_but, matching, with_ranges};
use crate::generate::click_source::ClickRange;
use crate::generate::comparison;
use crate::generate::filter::Filter;

/// How many of all clicks meet a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// One in a hundred.
    Few,
    /// One in ten.
    Several,
    /// Nearly all.
    Most,
}

/// A list of values with their clicks, shares and changes.
#[derive(Debug, Clone)]
pub(crate) struct BarList {
    /// Whose values it lists.
    dimensions: Vec<Filter>,
    /// A condition that clicks of the list meet, in addition to the filters.
    of: Option<(&'static str, Part)>,
    /// Shares are of all clicks that match the filters, and not only of those of the list.
    share_of_all: bool,
    /// Filters that the list does not follow.
    ignored: Vec<Filter>,
    /// A further column after the clicks, and its aggregate function over the clicks of the range.
    more: Option<(&'static str, &'static str)>,
    /// It has a column of visitors.
    has_visitors: bool,
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
            more: None,
            has_visitors: false,
            of_everyone: false,
            limit,
        }
    }

    /// Reads the clicks of people and bots, with any choice of traffic.
    #[must_use]
    pub(crate) fn of_everyone(self) -> Self {
        Self { of_everyone: true, ..self }
    }

    /// Counts only clicks that meet a condition over `clicks AS c`, which are this part of all.
    #[must_use]
    pub(crate) fn only(self, condition: &'static str, part: Part) -> Self {
        Self { of: Some((condition, part)), ..self }
    }

    /// Shares are of all clicks that match the filters, and not only of those of the list.
    #[must_use]
    pub(crate) fn share_of_all(self) -> Self {
        Self { share_of_all: true, ..self }
    }

    /// Does not follow some filters.
    #[must_use]
    pub(crate) fn ignoring(self, filters: &[Filter]) -> Self {
        Self { ignored: filters.to_vec(), ..self }
    }

    /// Adds a column: a name, and an aggregate function over `clicks AS c`.
    #[must_use]
    pub(crate) fn more(self, name: &'static str, sql: &'static str) -> Self {
        Self { more: Some((name, sql)), ..self }
    }

    /// Adds the column `visitors` to a list of combinations of values.
    #[must_use]
    pub(crate) fn with_visitors(self) -> Self {
        Self { has_visitors: true, ..self }
    }

    /// The query.
    pub(crate) fn sql(&self) -> String {
        match self.dimensions.as_slice() {
            [only] => self.of_values(only.variable()),
            _ => self.of_combinations(),
        }
    }

    fn of_values(&self, name: &str) -> String {
        format!(
            "{with}SELECT\n  value AS {name},\n  clicks,\n  {more}share,\n  {change} AS change\n\
            FROM\n{counted}\nORDER BY clicks DESC, {name}\nLIMIT {limit}",
            with = with_ranges(),
            more = self.more.map(|(name, _)| format!("{name},\n  ")).unwrap_or_default(),
            change = comparison::change("clicks", "clicks_before"),
            counted = self.counted(),
            limit = self.limit,
        )
    }

    /// The query of combinations of values. The first step counts by hashes. The second one finds the texts of the rows that
    /// are shown, and ends with the first click of each; or counts their visitors, which takes twice as long as their clicks.
    fn of_combinations(&self) -> String {
        let names: Vec<_> = self.dimensions.iter().map(|filter| filter.variable()).collect();
        let names = names.join(", ");
        let more = self.more.map(|(name, _)| format!(", {name}")).unwrap_or_default();
        format!(
            "{with},\n  (\n  SELECT groupArray((value, clicks, share, clicks_before{more}))\n  FROM\n  (\n  \
            SELECT value, clicks, share, clicks_before{more}\n  FROM\n{counted}\n  \
            ORDER BY clicks DESC, value\n  LIMIT {limit}\n  )\n  ) AS top\n\
            SELECT\n  {names},\n  row.2 AS clicks,\n  {columns}row.3 AS share,\n  {change} AS change\n\
            FROM (SELECT arrayJoin(top) AS row, row.1 AS value) AS ranked\n\
            INNER JOIN\n(\n{texts}\n) AS shown USING (value)\n\
            ORDER BY clicks DESC, {names}",
            with = with_ranges().trim_end(),
            counted = self.counted(),
            limit = self.limit,
            columns = self.columns(),
            change = comparison::change("row.2", "row.4"),
            texts = self.texts(),
        )
    }

    /// The columns after the clicks of a combination.
    fn columns(&self) -> String {
        let visitors = if self.has_visitors { "visitors,\n  " } else { "" };
        let more = self.more.map(|(name, _)| format!("row.5 AS {name},\n  ")).unwrap_or_default();
        format!("{visitors}{more}")
    }

    /// The texts of the combinations that are shown.
    fn texts(&self) -> String {
        let shown = format!(
            "  {range}\n  AND {key} IN (SELECT arrayJoin(top).1)",
            range = self.conditions(ClickRange::Chosen),
            key = self.key(),
        );
        let texts = |form: &dyn Fn(String) -> String| -> String {
            let text = |filter: &Filter| {
                format!(",\n    {} AS {}", form(self.label(*filter)), filter.variable())
            };
            self.dimensions.iter().map(text).collect()
        };
        let key = self.key();
        if self.has_visitors {
            return format!(
                "  SELECT\n    {key} AS value{texts},\n    uniqIf(c.visitor_id, c.visitor_id != 0) AS visitors\n\
                {shown}\n  AND {wanted}\n  GROUP BY value",
                texts = texts(&|text| format!("any({text})")),
                wanted = self.wanted(),
            );
        }
        format!(
            "  SELECT\n    {key} AS value{texts}\n{shown}\n  LIMIT 1 BY value\n  LIMIT length(top)",
            texts = texts(&|text| text),
        )
    }

    /// The clicks of each key in the chosen range, with their shares, and those of the earlier one. A condition that most clicks
    /// meet is part of the count, which is faster than to select clicks by it; a sum takes two thirds of the time of `countIf`.
    fn counted(&self) -> String {
        let (key, clicks) = (self.key(), format!("sum({})", self.wanted()));
        let all = match self.share_of_all {
            true => format!("(\n    SELECT {clicks} {}\n    )", matching(ClickRange::Chosen)),
            false => "sum(clicks) OVER ()".to_owned(),
        };
        let more = self.more.map(|(name, sql)| format!("\n    {sql} AS {name},"));
        format!(
            "(\n  SELECT\n    {key} AS value,\n    {clicks} AS clicks,{more}\n    clicks / {all} AS share\n  {chosen}\n  \
            GROUP BY value\n  HAVING clicks > 0\n) AS counted\nLEFT JOIN\n(\n  \
            SELECT {key} AS value, {clicks} AS clicks_before\n  {earlier}\n  GROUP BY value\n) AS before USING (value)",
            more = more.unwrap_or_default(),
            chosen = self.conditions(ClickRange::Chosen),
            earlier = self.conditions(ClickRange::Earlier),
        )
    }

    /// What a click is counted by: its value, or for several values the hash of their hashes. The server computes the inner
    /// ones once for each text of a column's dictionary; counting by tuples of texts takes up to three times as long.
    fn key(&self) -> String {
        if let [only] = self.dimensions.as_slice() {
            return self.label(*only);
        }
        let hash = |filter: &Filter| format!("cityHash64({})", self.label(*filter));
        let hashes: Vec<_> = self.dimensions.iter().map(hash).collect();
        format!("cityHash64({})", hashes.join(", "))
    }

    /// A value as the list shows it. Of few clicks it is made of their texts, because the dictionary of a column has more.
    fn label(&self, filter: Filter) -> String {
        match self.of {
            Some((_, Part::Few)) => filter.label_of_text(),
            _ => filter.label(),
        }
    }

    /// Whether the list counts a click, of those that meet its conditions: 1 or 0.
    fn wanted(&self) -> String {
        let traffic = if self.of_everyone { "1" } else { TRAFFIC };
        match self.of {
            Some((condition, Part::Most)) => format!("({traffic} AND {condition})"),
            _ => traffic.to_owned(),
        }
    }

    /// Clicks of a range that meet the conditions of the list.
    fn conditions(&self, range: ClickRange) -> String {
        let of = match self.of {
            Some((condition, Part::Few | Part::Several)) => format!("\n  AND {condition}"),
            _ => String::new(),
        };
        format!("{}\nWHERE {}{of}", range.from(), filters_but(&self.ignored))
    }
}
