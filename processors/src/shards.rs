//! The shards of a ClickHouse cluster: which one owns a click, and where its replicas are.

mod city_hash;
pub mod cluster;
pub mod shard_layout;
pub mod shards_file;
