//! One file per command: it reads its arguments, calls the module that does the work, and prints.

pub mod import;
pub mod links;
pub mod serve;
pub mod visitor_keys;
