//! The dashboards of Grafana, and what Grafana makes of them before it sends a query.
//!
//! Pure: reads no file and no clock. In reading order: the files of dashboards; what a dashboard holds; the choices of a
//! viewer, and how they become the text of a query: variables, then macros.

mod dashboard;
mod expand_error;
mod files;
mod interval;
mod macros;
mod variables;
mod view;

pub use dashboard::{
    Annotation, Cell, Dashboard, DashboardLink, Panel, PanelLink, Query, Source, Target, Variable,
};
pub use expand_error::ExpandError;
pub use files::files;
pub use interval::interval_ms;
pub use variables::{Format, Reference, percent_encoded, references};
pub use view::View;
