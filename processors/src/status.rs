//! The state of the pipeline: facts of its parts, and what is wrong with them.
//!
//! `questions` asks the parts; everything else here is pure.

mod admin_client;
pub mod alert_condition;
pub mod facts;
pub mod finding_level;
pub mod findings;
pub mod gauge_checks;
#[cfg(test)]
mod healthy_facts;
pub mod known_balance;
pub mod limit;
pub mod metric_samples;
pub mod questions;
mod server_findings;
mod service_findings;
mod shard_servers;
mod shown_values;
pub mod status_finding;
pub mod status_lines;
pub mod status_object;
mod storage_findings;
