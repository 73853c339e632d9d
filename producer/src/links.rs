//! The links a redirect may lead to: what one is, how people write it, all of them in memory.
//!
//! Pure but for the snapshot's file. Where links come from is in `store` and `follow`.

pub mod admin_api;
pub mod follower;
pub mod link;
pub mod link_entry;
pub mod link_file;
pub mod link_source;
pub mod link_table;
pub mod publisher;
pub mod snapshot;
pub mod store;
pub mod store_location;
pub mod target;
