-- Every verdict of `audit --follow`: of each minute the newest one of each state, for a month. A run that fails is
-- `unknown`. Read the views `audit_verdicts` and `audit_balance`.
CREATE TABLE IF NOT EXISTS audit_verdict_versions
(
    topic LowCardinality(String) COMMENT 'log',
    group_id LowCardinality(String) COMMENT 'consumer group whose position the audit reads',
    judged_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was written, by the clock of this server',
    state LowCardinality(String) COMMENT 'balanced, out_of_balance, unknown',
    code LowCardinality(String) COMMENT 'why the state is unknown or out_of_balance: an error code; empty where balanced',
    every_seconds UInt32 COMMENT 'interval of the runs',
    logged_from Nullable(DateTime64(3, 'UTC')) COMMENT 'log time of the first records that were compared; NULL: the run failed',
    logged_until Nullable(DateTime64(3, 'UTC')) COMMENT 'log time up to which all records were compared and none is lagging; NULL: likewise',
    offsets Map(Int32, Tuple(first Int64, end Int64)) COMMENT 'what was compared of each partition, up to the first lagging record; end is the offset after the last',
    records UInt64 COMMENT 'records that were read',
    events UInt64 COMMENT 'distinct events that were compared',
    missing UInt64 COMMENT 'events without a row, of which a record has no dead letter and is not pending',
    duplicates UInt64 COMMENT 'rows beyond the first of an event',
    undecodable UInt64 COMMENT 'records that are neither row nor dead letter',
    dead_lettered UInt64 COMMENT 'events without a row, whose records all have dead letters',
    lagging UInt64 COMMENT 'events and undecodable records at or beyond the position of the group',
    in_jobs Map(String, UInt64) COMMENT 'events and undecodable records that the job of a skip has to process, by job',
    ended_jobs Array(String) COMMENT 'jobs among in_jobs that have ended without being done; such a verdict is out_of_balance'
)
ENGINE = ReplacingMergeTree(judged_at)
ORDER BY (topic, group_id, toStartOfMinute(judged_at), state)
TTL toDateTime(judged_at) + toIntervalDay(30);
CREATE OR REPLACE VIEW audit_verdicts AS SELECT * FROM audit_verdict_versions FINAL;
-- What is known now, one row for each log and group. A verdict that is overdue by five minutes, or by two intervals of
-- the runs, is unknown. `balanced_until` is the latest log time up to which log and table were found to balance.
CREATE OR REPLACE VIEW audit_balance AS
SELECT
    topic,
    group_id,
    if(is_overdue, 'unknown', newest.1) AS state,
    if(is_overdue, 'no_verdict', newest.2) AS code,
    judged_at,
    balanced_from,
    balanced_until,
    newest.3 AS missing,
    newest.4 AS duplicates,
    newest.5 AS undecodable,
    newest.6 AS lagging,
    newest.7 AS in_jobs,
    newest.8 AS ended_jobs
FROM
(
    SELECT
        topic,
        group_id,
        max(v.judged_at) AS judged_at,
        argMax((v.state, v.code, v.missing, v.duplicates, v.undecodable, v.lagging, v.in_jobs, v.ended_jobs), v.judged_at) AS newest,
        argMaxIf(v.logged_from, v.judged_at, v.state = 'balanced') AS balanced_from,
        argMaxIf(v.logged_until, v.judged_at, v.state = 'balanced') AS balanced_until,
        judged_at + toIntervalSecond(greatest(300, 2 * argMax(v.every_seconds, v.judged_at))) < now64(3) AS is_overdue
    FROM audit_verdict_versions AS v FINAL
    GROUP BY topic, group_id
);
