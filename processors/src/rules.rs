//! The rule tables as files: their packages, and the rules folder.
pub mod fetch;
pub mod folder;
pub mod listing;
pub mod packages;
