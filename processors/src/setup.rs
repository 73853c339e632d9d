//! Compares servers with what the processors need, and brings them up to date.
pub mod apply;
pub mod preflight;
pub mod server_facts;
