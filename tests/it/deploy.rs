//! The files that are shipped with the code.
pub(crate) mod alerts;
pub(crate) mod dashboards;
pub(crate) mod disclosure;
pub(crate) mod shipped_files;
pub(crate) mod stop_timeouts;
pub(crate) mod telemetry;
