-- Resets of the committed positions of a consumer group, by version; the newest version of a group counts. Every
-- `processors run` reads the table each second: while a reset is open, the members of its group stay outside the
-- group, since brokers accept positions from a client that is no member only while the group is empty.
CREATE TABLE IF NOT EXISTS reset_versions
(
    group_id String COMMENT 'consumer group',
    version UInt64 COMMENT 'grows with each change of each reset of the group',
    id String COMMENT 'UUID v7 of the reset',
    topic String COMMENT 'log',
    state LowCardinality(String) COMMENT 'claimed, open, done, withdrawn',
    targets Map(Int32, Int64) COMMENT 'position to be committed, by partition',
    job String COMMENT 'replay of the offsets that the reset skips; empty where it skips none',
    actor String COMMENT 'user that made it',
    host String COMMENT 'host and process of the command',
    message String COMMENT 'why it was withdrawn',
    lasts_until DateTime64(6, 'UTC') DEFAULT now64(6) + toIntervalSecond(10) COMMENT 'a claimed or open reset without a newer version has no effect from then on',
    at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when this version was written'
)
ENGINE = MergeTree
ORDER BY (group_id, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
