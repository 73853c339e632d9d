//! What is shipped beside the code.
mod dashboards;
mod shipped_files;
mod telemetry;
