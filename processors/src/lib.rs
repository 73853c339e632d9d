//! Kafka ▸ decode ▸ enrich ▸ ClickHouse ▸ commit.
//!
//! In reading order: what a record becomes (`decode`, `enrich`, `encode`, `dead_letters`), the pure core
//! between log and table (`flow`), the loop (`run`), the servers (`kafka`, `clickhouse`), and the proof
//! (`audit`).

pub mod dead_letters;
pub mod decode;
pub mod encode;
pub mod enrich;
pub mod error;

pub mod flow;
pub mod run;

pub mod clickhouse;
pub mod dead_letter_copy;
pub mod jobs;
pub mod kafka;
pub mod link_dimension;
pub mod rules;

pub mod audit;
pub mod cmd;
pub mod config;
pub mod exit;
pub mod metrics;
pub mod random_bits;
pub mod redrive;
pub mod setup;
