//! The public port, the collector and what a click records about its client.
pub(crate) mod bad_files;
pub(crate) mod collector;
pub(crate) mod connections;
pub(crate) mod fuzz;
pub(crate) mod hostile_bodies;
pub(crate) mod privacy;
pub(crate) mod redirect;
