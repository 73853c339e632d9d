-- A replay may have several passes, such as one for each day, and then has its ranges in them: either column is
-- empty. `pass` is the number of the pass that is read, or was read last.
CREATE OR REPLACE VIEW replays AS
SELECT
    id,
    state,
    multiIf(
        state = 'done' AND counts['balanced'] = 1, 'balanced',
        state = 'done', 'not_balanced',
        state = 'unverified', 'unverified',
        '') AS verdict,
    JSONExtractString(plan, 'topic') AS topic,
    fromUnixTimestamp64Milli(JSONExtract(plan, 'window', 'log_time', 'from_ms', 'Nullable(Int64)'), 'UTC') AS logged_from,
    fromUnixTimestamp64Milli(JSONExtract(plan, 'window', 'log_time', 'to_ms', 'Nullable(Int64)'), 'UTC') AS logged_to,
    JSONExtractRaw(plan, 'window') AS plan_window,
    JSONExtractRaw(plan, 'ranges') AS ranges,
    JSONExtractRaw(plan, 'passes') AS passes,
    greatest(counts['pass'], 1) AS pass,
    JSONExtractRaw(plan, 'rules') AS rules,
    counts['offsets_done'] AS offsets_done,
    counts['records'] AS records,
    counts['events'] AS clicks,
    counts['rewritten'] AS rewritten,
    counts['missing'] AS missing,
    counts['dead_lettered'] AS dead_lettered,
    counts['expired'] AS expired,
    counts['orphaned_expired'] + counts['orphaned_undecodable'] + counts['orphaned_other_topic']
        + counts['orphaned_not_in_log'] AS orphaned,
    counts,
    created_at AS planned_at,
    if(mapContains(counts, 'started_at_us'), fromUnixTimestamp64Micro(toInt64(counts['started_at_us']), 'UTC'), NULL) AS started_at,
    if(state IN ('done', 'cancelled', 'failed', 'unverified'), updated_at, NULL) AS ended_at,
    updated_at,
    actor,
    JSONExtractString(plan, 'reason') AS reason,
    host,
    message
FROM jobs
WHERE kind = 'replay';
