-- A verdict is about the window of `audit --follow`, or about the whole log, which `audit` compares, and it holds the log
-- times of its differences. It is of the minute in which its run ended, also where it is stored later.
ALTER TABLE audit_verdict_versions
    ADD COLUMN IF NOT EXISTS scope LowCardinality(String) COMMENT 'log: `audit` compared the whole log; any other: the window of `audit --follow`' AFTER group_id,
    ADD COLUMN IF NOT EXISTS began_at DateTime64(3, 'UTC') DEFAULT judged_at COMMENT 'when the run began to compare, by the clock of this server' AFTER scope,
    ADD COLUMN IF NOT EXISTS differences_from Nullable(DateTime64(3, 'UTC')) COMMENT 'log time of the first difference; NULL: there is none' AFTER logged_until,
    ADD COLUMN IF NOT EXISTS differences_until Nullable(DateTime64(3, 'UTC')) COMMENT 'log time of the last difference; NULL in a verdict about the whole log: the times of the differences are not known, and only another one compares them again' AFTER differences_from,
    ADD COLUMN IF NOT EXISTS misplaced UInt64 COMMENT 'rows on another shard than the one that their event ids name' AFTER duplicates,
    ADD COLUMN IF NOT EXISTS surplus UInt64 COMMENT 'events without a record, although it has not expired; only `audit` looks for them' AFTER misplaced,
    MODIFY ORDER BY (topic, group_id, toStartOfMinute(judged_at), state, scope);
ALTER TABLE audit_verdict_versions COMMENT COLUMN IF EXISTS judged_at 'when the run ended, by the clock of this server';
CREATE OR REPLACE VIEW audit_verdicts AS SELECT * FROM audit_verdict_versions FINAL;
-- What is known now, one row for each log. A difference is open until a run that began later has compared the part of the log
-- that holds it; its verdict has the difference again, or it is gone. `newest_state` is the state of the newest run, unknown if
-- it is overdue by five minutes, or by two intervals of the runs. `state` is out_of_balance while a difference is open,
-- else that of the newest run. `balanced_until` is the log time up to which the newest balanced run compared the log. A
-- verdict that is dated after now, because the clock of this server was set back, does not count until that time.
CREATE OR REPLACE VIEW audit_balance AS
WITH
    judged AS (SELECT * FROM audit_verdict_versions FINAL WHERE judged_at <= now64(3)),
    -- Of each verdict, what it compared, with the begin of its run, and what it found to differ, with the end; milliseconds
    -- since 1970.
    parts AS
    (
        SELECT
            v.topic AS topic,
            false AS is_difference,
            toUnixTimestamp64Milli(v.began_at) AS run_ms,
            toUnixTimestamp64Milli(assumeNotNull(v.logged_from)) AS from_ms,
            if(v.scope = 'log', -1, from_ms) AS compared_from,
            toUnixTimestamp64Milli(assumeNotNull(v.logged_until)) AS until_ms
        FROM judged AS v
        WHERE v.state IN ('balanced', 'out_of_balance') AND isNotNull(v.logged_until)
            AND v.judged_at >= (SELECT minOrNull(w.judged_at) FROM judged AS w WHERE w.state = 'out_of_balance')
        UNION ALL
        SELECT
            v.topic AS topic,
            true AS is_difference,
            toUnixTimestamp64Milli(v.judged_at) AS run_ms,
            toUnixTimestamp64Milli(coalesce(v.differences_from, v.logged_from, v.judged_at)) AS from_ms,
            if(v.scope = 'log' AND isNull(v.differences_until), -1, from_ms) AS compared_from,
            toUnixTimestamp64Milli(coalesce(v.differences_until, v.logged_until, v.judged_at)) AS until_ms
        FROM judged AS v
        WHERE v.state = 'out_of_balance'
    ),
    open_differences AS
    (
        SELECT topic, count() AS verdicts, min(from_ms) AS first_ms, max(until_ms) AS last_ms
        FROM
        (
            -- `again` is the end of the part that was compared furthest, of those that begin before the difference.
            SELECT
                topic,
                is_difference,
                run_ms,
                from_ms,
                until_ms,
                maxIf((until_ms, run_ms), NOT is_difference) OVER (PARTITION BY topic ORDER BY compared_from RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS again
            FROM parts
        )
        WHERE is_difference AND (again.1 < until_ms OR again.2 <= run_ms)
        GROUP BY topic
    ),
    newest AS
    (
        SELECT
            v.topic AS topic,
            max(v.judged_at) AS judged_at,
            argMax((v.group_id, v.state, v.code), v.judged_at) AS run,
            argMax((v.missing, v.duplicates, v.misplaced, v.surplus, v.undecodable, v.lagging, v.in_jobs, v.ended_jobs), v.judged_at) AS counts,
            argMaxIf(v.logged_from, v.judged_at, v.state = 'balanced') AS balanced_from,
            argMaxIf(v.logged_until, v.judged_at, v.state = 'balanced') AS balanced_until,
            judged_at + toIntervalSecond(greatest(300, 2 * argMaxIf(v.every_seconds, v.judged_at, v.scope != 'log'))) < now64(3) AS is_overdue
        FROM judged AS v
        GROUP BY v.topic
    )
SELECT
    n.topic AS topic,
    n.run.1 AS group_id,
    if(o.verdicts > 0, 'out_of_balance', newest_state) AS state,
    if(o.verdicts > 0, 'out_of_balance', newest_code) AS code,
    if(n.is_overdue, 'unknown', n.run.2) AS newest_state,
    if(n.is_overdue, 'no_verdict', n.run.3) AS newest_code,
    n.judged_at AS judged_at,
    n.balanced_from AS balanced_from,
    n.balanced_until AS balanced_until,
    if(o.verdicts > 0, fromUnixTimestamp64Milli(o.first_ms, 'UTC'), NULL) AS differences_from,
    if(o.verdicts > 0, fromUnixTimestamp64Milli(o.last_ms, 'UTC'), NULL) AS differences_until,
    n.counts.1 AS missing,
    n.counts.2 AS duplicates,
    n.counts.3 AS misplaced,
    n.counts.4 AS surplus,
    n.counts.5 AS undecodable,
    n.counts.6 AS lagging,
    n.counts.7 AS in_jobs,
    n.counts.8 AS ended_jobs
FROM newest AS n
LEFT JOIN open_differences AS o ON o.topic = n.topic;
