//! The parts that both services share as processes.
//!
//! Checked settings, signals, logs and spans, the admin port and its health check, the accept loop, worker
//! threads. It has no code about clicks, Kafka or ClickHouse; [`settings`] lists the names of their settings.

pub mod accept;
pub mod admin_args;
pub mod admin_port;
pub mod attempts;
pub mod client_prefix;
pub mod client_stream;
pub mod connection_table;
pub mod descriptors;
pub mod healthcheck;
pub mod host_header;
pub mod http_server;
pub mod lock;
pub mod number;
pub mod process_metrics;
pub mod settings;
pub mod shown_url;
pub mod shutdown;
pub mod telemetry;
pub mod trace_ids;
pub mod wakeup;
pub mod worker;
