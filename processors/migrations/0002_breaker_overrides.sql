-- An operator's explicit permission to dead-letter records that are in the log already, so that a
-- storm of them does not stop processing forever.
CREATE TABLE IF NOT EXISTS breaker_overrides
(
    kafka_topic String COMMENT 'log that holds them',
    kafka_partition UInt32 COMMENT 'likewise',
    first_offset UInt64 COMMENT 'first offset that may be dead-lettered in a storm',
    last_offset UInt64 COMMENT 'last such offset',
    reason String COMMENT 'why, in the words of the operator',
    passed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the override was made'
)
ENGINE = ReplacingMergeTree(passed_at)
ORDER BY (kafka_topic, kafka_partition, first_offset, last_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
