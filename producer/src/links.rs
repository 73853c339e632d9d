//! Links: the table in memory, and the store and the topic that fill it.

pub mod admin_api;
pub mod follower;
pub mod link;
pub mod link_entry;
pub mod link_file;
pub mod link_source;
pub mod link_sync;
pub mod link_table;
mod open_records;
pub mod publisher;
pub mod slug_case;
pub mod snapshot;
pub mod store;
pub mod store_check;
pub mod store_location;
pub mod target;
pub mod topic_reports;
pub mod topic_versions;
