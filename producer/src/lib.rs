//! The redirect service: it answers at once, and records each answer as a click.
//!
//! In reading order: links, click, client, outbox, redirect, and the commands that run them.

pub mod bearer_token;
pub mod clock;
pub mod clock_watch;
pub mod host_name;
pub mod private_file;
pub mod random_bits;
pub mod route;

pub mod links;

pub mod click;

pub mod client;
pub mod outbox;

pub mod collector;
pub mod redirect;

pub mod metrics;

pub mod cmd;
pub mod config;
pub mod delivery;
pub mod exit;
pub mod import;
pub mod kafka;
pub mod public_port;
pub mod request_span;
pub mod server;
pub mod stop_deadline;
