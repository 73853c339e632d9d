//! The dashboards as people see them.
pub(crate) mod badge;
pub(crate) mod browsed_clicks;
pub(crate) mod browser;
pub(crate) mod counted_rows;
pub(crate) mod demo_run;
pub(crate) mod floods;
pub(crate) mod list_recounts;
pub(crate) mod panel_rows;
pub(crate) mod pictures;
pub(crate) mod recounts;
pub(crate) mod table_panels;
pub(crate) mod viewer;
