//! The files that are shipped with the code.
pub(crate) mod alert_panels;
pub(crate) mod alert_rules;
pub(crate) mod alert_table;
pub(crate) mod alerts;
pub(crate) mod dashboards;
pub(crate) mod declared_metrics;
pub(crate) mod disclosure;
pub(crate) mod kubernetes;
pub(crate) mod metric_names;
pub(crate) mod promql_names;
pub(crate) mod reader_rights;
pub(crate) mod scraped_metrics;
pub(crate) mod shipped_files;
pub(crate) mod status_conditions;
pub(crate) mod stop_timeouts;
pub(crate) mod telemetry;
