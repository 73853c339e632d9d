//! The public port, the collector and what a click records about its client.
mod collector;
mod fuzz;
mod privacy;
mod redirect;
