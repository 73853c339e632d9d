//! One file for each command: it parses its arguments, calls the module that works, and prints.

pub mod import;
pub mod links;
pub mod serve;
pub mod visitor_keys;
