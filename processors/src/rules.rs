//! The rule tables as files: where they come from, and the folder that is watched.
pub mod fetch;
pub mod folder;
pub mod packages;
