//! What both services need of Kafka and of the schema registry: settings, clients, error classes.
//!
//! Each service has its own folder of producers and consumers; they all start from [`Brokers`] and
//! [`Registry`], and all errors of both servers become a [`ServerError`] here.

pub mod args;
pub mod backoff;
pub mod client;
pub mod error;
pub mod properties;
pub mod registry;

pub use args::{BrokerArgs, RegistryArgs};
pub use backoff::Backoff;
pub use client::{Brokers, QuietContext, property_error, server_error};
pub use error::{ErrorClass, MEMBER_FENCED, POSITION_LOST, ServerError};
pub use properties::{Properties, Property};
pub use registry::Registry;
