//! What came of a query. Pure.

/// What came of the queries of a place, the worst last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueryOutcome {
    /// It was not sent: there is no Prometheus.
    Skipped,
    /// It returned no row.
    NoData,
    /// It returned rows that the panel can display.
    Rows,
    /// The panel cannot display its columns.
    Misfit(String),
    /// With an attack as the value of a filter it failed, or returned more rows.
    Attacked(String),
    /// The text cannot be expanded, or the server refused it.
    Failed(String),
}

impl QueryOutcome {
    /// The text of a line.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Skipped => "skipped",
            Self::NoData => "no data",
            Self::Rows => "ok",
            Self::Misfit(text) | Self::Attacked(text) | Self::Failed(text) => text,
        }
    }

    /// Whether the dashboard has a fault that an edit of its file corrects.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Misfit(_) | Self::Attacked(_) | Self::Failed(_))
    }
}
