-- The shard that this server holds, where a cluster has several shards; a single server has no row. Programs refuse a
-- server whose row differs from their settings: with another layout, new versions of a click go to another shard than
-- its old ones, and each shard shows the newest of its own versions.
CREATE TABLE IF NOT EXISTS cluster_layout
(
    shard UInt32 COMMENT 'number of the shard that this server holds, from 1',
    shards UInt32 COMMENT 'number of shards',
    weights String COMMENT 'weights of the shards in their order, such as 1,1,2',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was written'
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (shard, shards, weights)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
