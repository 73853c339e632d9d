//! The real parts of the stack without Docker, for development, tests and the demo: a Kafka broker, a
//! Confluent-compatible schema registry, and the ClickHouse engine behind ClickHouse's HTTP protocol.
//! All listen on loopback and have their files in one folder, which can be deleted.
//!
//! In reading order:
//! ```text
//! part, error, interrupt    names, errors, and how a command is interrupted
//! stack                     a stack: its folder, settings and processes
//! lifecycle                 up, down, restart, fetch, clean
//!   kafka, registry, java   Java parts, from Maven Central; one broker or three
//!   clickhouse              `stack front` and libchdb.so, from npm
//!   postgres                PostgreSQL, on request, from npm
//!   prometheus, alertmanager    on request, from Debian
//! status, http_probe        whether the parts answer, and their addresses
//! crash_commands            kill, pause, resume, crash-engine
//! clickhouse_fault, registry_proxy, disk_commands, disk    faults
//! doctor, watch             checks; the watcher of `stack run`
//! ports, process, process_table, command                   ports and processes
//! cache, fetch, package, prerequisites                     downloads
//! clone_lock                one demo, or one bench, in a clone
//! preview                   the dashboards without Grafana
//! ```

mod alertmanager;
mod cache;
mod clickhouse;
mod clickhouse_fault;
mod clone_lock;
mod command;
mod crash_commands;
mod disk;
mod disk_commands;
mod doctor;
mod error;
mod fetch;
mod http_probe;
mod interrupt;
mod java;
mod kafka;
mod lifecycle;
mod package;
mod part;
mod ports;
mod postgres;
mod prerequisites;
mod preview;
mod process;
mod process_table;
mod prometheus;
mod registry;
mod registry_proxy;
mod stack;
mod status;
mod watch;

pub use self::postgres::Postgres;
pub use cache::Cache;
pub use clickhouse::users;
pub use clickhouse_fault::{ClickHouseFault, InvalidFault};
pub use clone_lock::CloneLock;
pub use command::run_command;
pub use disk::{DiskUsage, InvalidSmallDisk, SmallDisk, parse_bytes};
pub use doctor::{Finding, examine};
pub use error::StackError;
pub use fetch::Downloads;
pub use interrupt::Interrupt;
pub use part::{InvalidPart, Part};
pub use ports::{Brokers, InvalidBrokerCount, PortChoice, Ports};
pub use preview::check::PreviewCheck;
pub use preview::queries::PreviewServers;
pub use preview::server::Preview;
pub use prometheus::has_prometheus;
pub use registry_proxy::{InvalidRegistryFault, RegistryFault, RegistryProxy};
pub use stack::Stack;
pub use status::PartStatus;
pub use watch::{Watch, watch};
