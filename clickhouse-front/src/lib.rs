//! The HTTP protocol of ClickHouse in front of its engine: the part of the stack that takes the
//! place of the ClickHouse server. For development and tests only: it listens on loopback, has two
//! users and no query log. What clients can use of it: `docs/clients.md`.
//!
//! In reading order:
//! ```text
//! engine_supervisor   starts the engine's process, again after a crash; accept: the accept loop
//! http                the server in that process; front: the state that all requests share
//! routes              paths; auth: users; request: parameters and headers; faults on command
//! query_task          a query between the runtime and its thread
//!   early_headers, progress, cancel_on_disconnect, running_queries
//! query               a query on its thread
//!   query_text, query_rights, query_setup, query_output, query_failure, session
//!   statement, sql, statement_class, query_counts
//! body, answer        what is read and sent; exception, server_info, random_id
//!   multipart_form, content_coding, compress, output_format, native_format, result_spool
//! engine              the engine's C interface, the only code with `unsafe`
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
