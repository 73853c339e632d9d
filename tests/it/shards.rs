//! Three engines as the shards of a cluster.
pub(crate) mod cluster_setup;
pub(crate) mod faults;
pub(crate) mod layout;
pub(crate) mod lost_parts;
pub(crate) mod readers;
