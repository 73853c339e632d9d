//! Runs a real producer and real processors on real backends in tests.
//!
//! A [`World`] is one test's own topic, group and database on the shared stack. Every wait checks a
//! condition and has a deadline; a failed test prints the logs of its processes. A missing backend
//! fails the test, with the command that starts it; no test is skipped.

mod access_log;
mod backends;
mod browser;
pub mod chaos;
mod child;
mod clickhouse_proxy;
mod devtools;
mod divided_alerts;
pub mod hostile;
pub mod hostile_records;
mod http_client;
mod kafka;
pub mod loader;
mod own_preview;
mod own_stack;
mod ports;
mod post_receiver;
pub mod raw_produce;
mod replay_commands;
mod replica_front;
pub mod rules;
pub mod seeded_random;
mod shard_engines;
pub mod sim;
mod span_collector;
mod stall_proxy;
mod stop_flag;
mod strace;
mod visitors;
mod wait;
mod world;
mod written_letters;

pub use access_log::{AccessLog, access_log};
pub use backends::{Backends, program, root};
pub use browser::{Browser, Exchange, Screen};
pub use child::{Child, Exit, Summary};
pub use clickhouse_proxy::ClickHouseProxy;
pub use divided_alerts::DividedAlerts;
pub use http_client::{Answer, get, metric, request};
pub use kafka::{Copies, Kafka, Logged, Raw};
pub use own_preview::OwnPreview;
pub use own_stack::{OwnPostgres, OwnStack};
pub use ports::{closed_port, free_port};
pub use post_receiver::PostReceiver;
pub use replay_commands::job_id;
pub use replica_front::ReplicaFront;
pub use rustix::process::Signal;
pub use shard_engines::ShardEngines;
pub use span_collector::{Span, SpanCollector};
pub use stack::{RegistryFault, RegistryProxy};
pub use stall_proxy::StallProxy;
pub use stop_flag::{StopFlag, StopGuard};
pub use strace::{Call, Kill, Trace};
pub use visitors::{Visit, Visitors};
pub use wait::{PATIENCE, until, until_within};
pub use world::{Processors, Server, World};
pub use written_letters::{FailedRecord, dead_letter};
