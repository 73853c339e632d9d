//! The redirect service: answers at once, and records each answer as a click.
//!
//! In reading order: what is asked, what is known, what is recorded, where it
//! waits and goes, and the shell around it.

pub mod facts;
pub mod route;

pub mod links;

pub mod follow;
pub mod store;

pub mod click;
pub mod combined;
pub mod import_id;
pub mod log_file;

pub mod bell;
pub mod datum;
pub mod outbox;
pub mod publish;
pub mod registry;
pub mod relay;
pub mod sink;

pub mod http;
pub mod redirect;
pub mod span;

pub mod metrics;
pub mod progress;

pub mod cmd;
pub mod config;
pub mod exit;
