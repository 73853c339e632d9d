//! ClickHouse's HTTP protocol in front of its engine: the part that stands for the
//! ClickHouse server. For development and tests; it listens on loopback, knows two
//! users, keeps no query log, and is never run in production. What its clients get of it
//! and what not: `docs/clients.md`.

mod answer;
mod auth;
mod body;
mod cancel_on_disconnect;
mod compress;
mod content_coding;
mod early_headers;
mod engine;
mod engine_supervisor;
mod exception;
mod faults;
mod http;
mod multipart_form;
mod native_format;
mod output_format;
mod progress;
mod query;
mod request;
mod result_spool;
mod running_queries;
mod session;
mod sql;
mod statement;
mod statement_class;

pub use auth::User;
pub use engine::EngineError;
pub use engine_supervisor::{Kept, keep};
pub use faults::PATH as FAULT_PATH;
pub use http::{FrontError, Settings, run};
