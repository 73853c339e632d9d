//! ClickHouse's HTTP protocol in front of its engine: the part that stands for the
//! ClickHouse server. For development and tests; it listens on loopback, knows two
//! users, keeps no sessions and no query log, and is never run in production.

mod answer;
mod auth;
mod body;
mod compress;
mod engine;
mod errors;
mod format;
mod http;
mod query;
mod request;
mod spool;
mod sql;
mod statement;

pub use auth::User;
pub use engine::EngineError;
pub use http::{FrontError, Settings, run};
