//! What every service of Clicktrail is apart from its work: it can be told what to do and when to
//! stop, and tells how it fares.
//!
//! Settings check, signals, logs and spans, the admin port and who asks it. It knows nothing of clicks, Kafka or
//! ClickHouse.

pub mod admin;
pub mod healthcheck;
pub mod properties;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
