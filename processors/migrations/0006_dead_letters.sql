-- Every dead letter of the dead-letter topic, without its bytes. The origin is the record that failed
-- first; `redrive` is 0 for that failure and n for the failure of its n-th redriven copy. Of several dead
-- letters of one key the earliest failure is kept. Read the view `dead_letters`.
CREATE TABLE IF NOT EXISTS dead_letter_versions
(
    origin_topic LowCardinality(String) COMMENT 'record that failed first',
    origin_partition UInt32 COMMENT 'likewise',
    origin_offset UInt64 COMMENT 'likewise',
    origin_logged_at DateTime64(3, 'UTC') COMMENT 'when the broker appended it',
    redrive UInt32 COMMENT '0: the origin itself failed; n: its n-th redriven copy',
    precedence UInt64 COMMENT 'greater for an earlier failure',
    failed_at DateTime64(3, 'UTC') COMMENT 'when this record failed',
    code LowCardinality(String) COMMENT 'error code',
    stage LowCardinality(String) COMMENT 'stage that failed',
    message String COMMENT 'error message, 1 KiB at most',
    pattern String COMMENT 'message without its numbers, ids and quoted texts',
    group_id LowCardinality(String) COMMENT 'hash of code, pattern and schema id',
    schema_id UInt32 COMMENT 'in the frame of the value; 0 without a frame',
    stub LowCardinality(String) COMMENT 'record, batch: only lengths and hashes were kept; empty: the record is complete',
    last_offset UInt64 COMMENT 'of a batch that cannot be read; else the offset of the record',
    failed_topic LowCardinality(String) COMMENT 'record that failed this time',
    failed_partition UInt32 COMMENT 'likewise',
    failed_offset UInt64 COMMENT 'likewise',
    letter_topic LowCardinality(String) COMMENT 'where the dead letter is',
    letter_partition UInt32 COMMENT 'likewise',
    letter_offset UInt64 COMMENT 'likewise',
    value_bytes UInt64 COMMENT 'length of the record''s value',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was written'
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (origin_topic, origin_partition, origin_offset, origin_logged_at, redrive)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- Their bytes, which the user of the dashboards may not read. `setup` sets the TTL to the setting
-- CLICKTRAIL_DEAD_LETTER_PAYLOAD_DAYS; the dead-letter topic keeps the complete records for its retention.
CREATE TABLE IF NOT EXISTS dead_letter_payloads
(
    origin_topic LowCardinality(String) COMMENT 'as in dead_letter_versions',
    origin_partition UInt32 COMMENT 'likewise',
    origin_offset UInt64 COMMENT 'likewise',
    origin_logged_at DateTime64(3, 'UTC') COMMENT 'likewise',
    redrive UInt32 COMMENT 'likewise',
    precedence UInt64 COMMENT 'likewise',
    value Nullable(String) COMMENT 'value, 64 KiB at most; NULL: a tombstone, or cut to a stub' CODEC(ZSTD(3)),
    is_cut Bool COMMENT 'value, key or headers are longer than what is kept here',
    key Nullable(String) COMMENT 'key' CODEC(ZSTD(3)),
    headers Array(Tuple(name String, value Nullable(String))) COMMENT 'headers of the record itself, in order' CODEC(ZSTD(3)),
    stored_at DateTime DEFAULT now() COMMENT 'when this row was written'
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (origin_topic, origin_partition, origin_offset, origin_logged_at, redrive)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- What operators and jobs did with dead letters. Each row is written before the act that it names.
CREATE TABLE IF NOT EXISTS dead_letter_events
(
    origin_topic LowCardinality(String) COMMENT 'as in dead_letter_versions',
    origin_partition UInt32 COMMENT 'likewise',
    origin_offset UInt64 COMMENT 'likewise',
    origin_logged_at DateTime64(3, 'UTC') COMMENT 'likewise',
    kind LowCardinality(String) COMMENT 'selected, pending, sent, skipped, resolved, discarded, parked, reopened, edited',
    redrive UInt32 COMMENT 'number of the redriven copy, where there is one',
    job String COMMENT 'job, where there is one',
    event_id FixedString(16) COMMENT 'key facts of the copy that is sent; zeros: unknown',
    occurred_at DateTime64(6, 'UTC') COMMENT 'likewise',
    actor String COMMENT 'user',
    reason String COMMENT 'why, in the words of the operator',
    at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when, by the clock of this server'
)
ENGINE = MergeTree
ORDER BY (origin_topic, origin_partition, origin_offset, origin_logged_at, at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- Values that are sent instead of the original ones; the newest one counts.
CREATE TABLE IF NOT EXISTS dead_letter_repairs
(
    origin_topic LowCardinality(String) COMMENT 'as in dead_letter_versions',
    origin_partition UInt32 COMMENT 'likewise',
    origin_offset UInt64 COMMENT 'likewise',
    origin_logged_at DateTime64(3, 'UTC') COMMENT 'likewise',
    value String COMMENT 'what every later redrive sends' CODEC(ZSTD(3)),
    repair LowCardinality(String) COMMENT 'edit, schema_id, trailing_bytes, key_facts',
    event_id FixedString(16) COMMENT 'key facts of the value',
    occurred_at DateTime64(6, 'UTC') COMMENT 'likewise',
    actor String COMMENT 'user',
    at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when it was made'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (origin_topic, origin_partition, origin_offset, origin_logged_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- One row for each origin: its newest failure and its state. A state is recorded, never computed from
-- positions. Only a dead letter of the copy that is awaited (or of a later one) changes a state.
CREATE OR REPLACE VIEW dead_letters AS
SELECT
    letters.*,
    events.sent AS redrives,
    multiIf(
        events.kind = 'pending' AND letters.redrive >= events.awaited, 'failed_again',
        events.kind IN ('pending', 'resolved', 'discarded', 'parked'), events.kind,
        letters.redrive > 0, 'failed_again',
        'open') AS state,
    events.changed_at AS changed_at,
    events.job AS job
FROM
(
    SELECT
        origin_topic,
        origin_partition,
        origin_offset,
        origin_logged_at,
        max(v.redrive) AS redrive,
        argMax(v.code, v.redrive) AS code,
        argMax(v.stage, v.redrive) AS stage,
        argMax(v.message, v.redrive) AS message,
        argMax(v.pattern, v.redrive) AS pattern,
        argMax(v.group_id, v.redrive) AS group_id,
        argMax(v.schema_id, v.redrive) AS schema_id,
        argMax(v.stub, v.redrive) AS stub,
        argMax(v.last_offset, v.redrive) AS last_offset,
        argMax(v.letter_topic, v.redrive) AS letter_topic,
        argMax(v.letter_partition, v.redrive) AS letter_partition,
        argMax(v.letter_offset, v.redrive) AS letter_offset,
        argMax(v.value_bytes, v.redrive) AS value_bytes,
        min(v.failed_at) AS first_failed_at,
        max(v.failed_at) AS last_failed_at
    FROM dead_letter_versions AS v FINAL
    GROUP BY origin_topic, origin_partition, origin_offset, origin_logged_at
) AS letters
LEFT JOIN
(
    SELECT
        origin_topic,
        origin_partition,
        origin_offset,
        origin_logged_at,
        argMaxIf(e.kind, (e.at, e.redrive), e.kind IN ('pending', 'resolved', 'discarded', 'parked', 'reopened')) AS kind,
        argMaxIf(e.job, (e.at, e.redrive), e.kind IN ('pending', 'resolved', 'discarded', 'parked', 'reopened')) AS job,
        maxIf(e.redrive, e.kind = 'pending') AS awaited,
        uniqExactIf(e.redrive, e.kind = 'pending') AS sent,
        maxIf(e.at, e.kind IN ('pending', 'resolved', 'discarded', 'parked', 'reopened')) AS changed_at
    FROM dead_letter_events AS e
    GROUP BY origin_topic, origin_partition, origin_offset, origin_logged_at
) AS events
USING (origin_topic, origin_partition, origin_offset, origin_logged_at);
