//! The parts of both services that talk to Kafka and to the schema registry: settings, clients, error
//! classes.
//!
//! Each service has its own folder of producers and consumers; they all start from [`Brokers`] and
//! [`Registry`], and all errors of both servers become a [`ServerError`] here.

pub mod args;
pub mod backoff;
pub mod batch_probe;
pub mod client;
mod end_search;
pub mod error;
mod fetch_log;
pub mod native_message;
mod probe_client;
pub mod properties;
mod refused_ids;
pub mod registry;
pub mod schema_lookup;
pub mod silent_partitions;
mod subject_ids;
mod unknown_wait;

pub use args::{BrokerArgs, RegistryArgs};
pub use backoff::Backoff;
pub use batch_probe::{BatchProbe, ProbeFindings, UNREADABLE_TRIES, UnreadableBatch};
pub use client::{Brokers, QuietContext, property_error, server_error};
pub use error::{MEMBER_FENCED, POSITION_LOST, ServerError};
pub use native_message::message_headers;
pub use properties::{Properties, Property};
pub use registry::Registry;
pub use schema_lookup::{REFRESH_EVERY, SchemaAnswer, SchemaLookup};
pub use schemas::{BATCH_UNREADABLE, ErrorClass, SchemaRefusal};
pub use silent_partitions::{STATISTICS_INTERVAL, SilenceContext, SilentPartitions};
