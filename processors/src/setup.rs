//! Compares the servers with what the processors need, and changes them.
pub mod apply;
pub mod preflight;
pub mod server_facts;
