//! Kafka ▸ decode ▸ enrich ▸ ClickHouse ▸ commit.
//!
//! In reading order: what a record becomes (`decode`, `enrich`, `row`), what
//! holds records meanwhile (`flow`), who does it (`pipeline`, `driver`), with
//! whom (`kafka`, `registry`, `clickhouse`), and the proof (`audit`).

pub mod decode;
pub mod enrich;

pub mod error;
pub mod exit;
pub mod flow;

pub mod clickhouse;
pub mod kafka;

pub mod audit;
pub mod cmd;
pub mod config;
pub mod dead_letters;
pub mod encode;
pub mod link_dimension;
pub mod metrics;
pub mod rules;
pub mod run;
pub mod setup;
