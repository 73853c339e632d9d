//! The HTTP protocol of ClickHouse in front of its engine: the part of the stack that takes the
//! place of the ClickHouse server. For development and tests only: it listens on loopback, has two
//! users and no query log. What clients can use of it: `docs/clients.md`.
//!
//! In reading order:
//! ```text
//! engine_supervisor   starts the engine's process, again after a crash
//! http                the server in that process: accept, routes, body, content_coding,
//!                     multipart_form, early_headers, cancel_on_disconnect
//! front               the state that all requests share; auth, request, faults, server_info
//! query               one query: task (its thread), text, rights, setup, output, failure, counts
//!   running_queries, progress, session, statement, sql, statement_class
//! answer              what is sent: exception, compress, output_format, native_format, result_spool
//! engine              the engine's C interface, the only code with `unsafe`; the database `default`
//! ```

mod answer;
mod auth;
mod compress;
mod engine;
mod engine_supervisor;
mod exception;
mod faults;
mod front;
mod http;
mod native_format;
mod output_format;
mod progress;
mod query;
mod random_id;
mod request;
mod result_spool;
mod running_queries;
mod server_info;
mod session;
mod sql;
mod statement;
mod statement_class;

pub use auth::User;
pub use engine::library::EngineError;
pub use engine_supervisor::{Supervised, supervise};
pub use faults::PATH as FAULT_PATH;
pub use http::{FrontError, FrontSettings, run};
