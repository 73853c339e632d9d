//! Kafka ▸ decode ▸ enrich ▸ ClickHouse ▸ commit.
//!
//! The crate `records` is the pure core between log and table. In reading order: the loop (`run`), the
//! servers (`kafka`, `registry`, `clickhouse`), the proof (`audit`), and the commands (`cmd`).

pub mod run;

pub mod clickhouse;
pub mod dead_letter_copy;
pub mod jobs;
pub mod kafka;
pub mod link_dimension;
pub mod registry;
pub mod rules;
pub mod shards;

pub mod audit;
pub mod cmd;
pub mod config;
pub mod dashboard_check;
pub mod exit;
pub mod metrics;
pub mod random_bits;
pub mod redrive;
pub mod replay;
pub mod resets;
pub mod setup;
pub mod status;
