//! Compares the servers with what the processors need, and changes them.
pub mod apply;
pub(crate) mod cluster_facts;
pub(crate) mod cluster_tables;
pub(crate) mod layout_check;
pub mod preflight;
pub(crate) mod replication_check;
pub mod server_facts;
