//! The real parts of the stack without Docker, for development, tests and the demo:
//! a Kafka broker, a Confluent-compatible schema registry, and the ClickHouse engine
//! behind ClickHouse's HTTP protocol. All on loopback, in a folder that can be deleted.
//!
//! ```text
//! Stack ── Part: kafka ─────── kafka.rs       java, from Maven Central; one broker or three
//!   │           registry ──── registry.rs    java, from Maven Central
//!   │           clickhouse ── clickhouse.rs  `stack front` + libchdb.so, from npm
//!   ├── Postgres (postgres.rs), where it is asked for: from npm
//!   ├── Ports, Slot (process.rs), Cache ── Kit (fetch.rs)
//!   └── front/  ClickHouse's HTTP protocol over the engine
//! ```

mod cache;
mod clickhouse;
mod clickhouse_fault;
mod disk;
mod doctor;
mod error;
mod fetch;
mod http_probe;
mod java;
mod kafka;
mod part;
mod ports;
mod postgres;
mod process;
mod registry;
mod registry_proxy;
mod stack;
mod watch;

pub use self::postgres::Postgres;
pub use cache::Cache;
pub use clickhouse::users;
pub use clickhouse_fault::{Fault, NoSuchFault};
pub use disk::{NoSuchDisk, Room, SmallDisk, bytes_of};
pub use doctor::{Finding, examine};
pub use error::StackError;
pub use fetch::Kit;
pub use part::{NoSuchPart, Part};
pub use ports::{Brokers, NoSuchNumber, PortChoice, Ports};
pub use process::{Interrupt, run_command};
pub use registry_proxy::{NoSuchRegistryFault, RegistryFault, RegistryProxy};
pub use stack::{Stack, Status};
pub use watch::{Watch, watch};
