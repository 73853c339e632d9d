//! The public port, the collector, and the client data that a click records.
pub(crate) mod bad_files;
pub(crate) mod collector;
pub(crate) mod connections;
pub(crate) mod fuzz;
pub(crate) mod hostile_bodies;
pub(crate) mod privacy;
pub(crate) mod redirect;
