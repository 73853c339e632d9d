-- Every version of every job of an operator (a redrive of dead letters); the newest one counts. Read the
-- view `jobs`.
CREATE TABLE IF NOT EXISTS job_versions
(
    id String COMMENT 'UUID v7',
    version UInt64 COMMENT 'grows with each change of the job',
    kind LowCardinality(String) COMMENT 'redrive',
    state LowCardinality(String) COMMENT 'planning, running, done, cancelled, failed',
    plan String COMMENT 'what the job does, as JSON',
    counts Map(String, UInt64) COMMENT 'such as selected, sent, resolved, failed_again',
    actor String COMMENT 'user that started it',
    host String COMMENT 'host that runs it',
    message String COMMENT 'why it ended',
    created_at DateTime64(6, 'UTC') COMMENT 'when it was planned',
    updated_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when this version was written; a running job writes one every few seconds'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
CREATE OR REPLACE VIEW jobs AS SELECT * FROM job_versions FINAL;
-- Requests to a running job, which the process that runs it reads every second.
CREATE TABLE IF NOT EXISTS job_requests
(
    id String COMMENT 'job',
    request LowCardinality(String) COMMENT 'cancel, rate',
    value String COMMENT 'such as records a second',
    actor String COMMENT 'user that made it',
    at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when it was made'
)
ENGINE = MergeTree
ORDER BY (id, at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
