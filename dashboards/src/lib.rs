//! The dashboards of Grafana, and what Grafana makes of them before it sends a query.
//!
//! Pure: reads no file and no clock. In reading order: the files of dashboards; what a dashboard holds; the choices of a
//! viewer, and how they become the text of a query: variables, then macros; what is wrong with dashboards.

mod dashboard;
mod expand_error;
mod files;
mod generate;
mod hostile;
mod interval;
mod known_dashboards;
mod lint;
mod lint_finding;
mod lint_links;
mod lint_queries;
mod macros;
mod panel_fit;
mod sql_literals;
mod variables;
mod view;

pub use dashboard::{
    Annotation, Cell, Dashboard, DashboardLink, Panel, PanelLink, Query, Source, Target, Variable,
};
pub use expand_error::ExpandError;
pub use files::files;
pub use generate::generated;
pub use hostile::HOSTILE;
pub use interval::interval_ms;
pub use lint::lint;
pub use lint_finding::LintFinding;
pub use lint_queries::{PlacedQuery, placed_queries};
pub use panel_fit::{ResultTable, misfit};
pub use variables::{Format, Reference, percent_encoded, references};
pub use view::View;
