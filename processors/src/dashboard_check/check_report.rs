//! What a check found. Pure.

use std::time::Duration;

use dashboards::LintFinding;

use crate::dashboard_check::query_outcome::QueryOutcome;

/// What was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Dashboards that were read.
    pub dashboards: usize,
    /// What is wrong with the files.
    pub findings: Vec<LintFinding>,
    /// The result of each panel, variable and annotation that asks for data.
    pub places: Vec<PlaceResult>,
    /// Queries that ran with an attack as the value of a filter.
    pub hostile: usize,
}

/// The result of one panel, variable or annotation.
#[derive(Debug, Clone)]
pub struct PlaceResult {
    /// The title of the dashboard.
    pub dashboard: String,
    /// The panel, the variable or the annotation.
    pub place: String,
    /// Rows of ClickHouse and series of Prometheus, of all its queries.
    pub rows: usize,
    /// The time of all its queries.
    pub time: Duration,
    /// The worst of its queries.
    pub outcome: QueryOutcome,
}
