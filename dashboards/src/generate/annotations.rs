//! The annotations that the time series of a dashboard show. A viewer switches each on and off at the top.

use serde_json::{Value, json};

use crate::generate::panel::{clickhouse, table_query};

/// What is drawn at a time: jobs that changed the table, and links that changed.
fn annotation(name: &str, colour: &str, is_on: bool, sql: &str) -> Value {
    json!({
        "name": name,
        "datasource": clickhouse(),
        "enable": is_on,
        "hide": false,
        "iconColor": colour,
        "target": table_query("Anno", sql),
    })
}

/// The annotations of a dashboard of all clicks.
pub(crate) fn annotations() -> [Value; 3] {
    [replays(), filled_gaps(), annotation("Link changes", "blue", false, &link_changes("", ""))]
}

/// The annotations of the dashboard of one link. A query of narrow columns finds the first click of each version; paths and
/// destinations are read of those clicks only.
pub(crate) fn annotations_of_link() -> [Value; 3] {
    let clicks = format!(
        "\n    UNION ALL\n    SELECT c.link_id AS link, c.link_version AS version, c.occurred_at AS moment, \
        concat(c.domain, '/', c.slug) AS path, c.target_url AS target, false AS is_change\n    FROM clicks AS c\n    \
        WHERE c.occurred_at IN\n    (\n      SELECT min(c.occurred_at) FROM clicks AS c\n      \
        WHERE $__timeFilter(c.occurred_at){CLICKED}\n      GROUP BY c.link_id, c.link_version\n      HAVING c.link_id != ''\n    ) AND c.link_id != ''{CLICKED}"
    );
    let sql = link_changes(CHOSEN, &clicks);
    [replays(), filled_gaps(), annotation("Link changes", "blue", true, &sql)]
}

/// The chosen link among clicks.
const CLICKED: &str = "\n      AND c.slug = decodeURLComponent('${link:percentencode}') \
    AND ('${domain:percentencode}' = '' OR c.domain = decodeURLComponent('${domain:percentencode}'))";

/// The chosen link among links, which may be of any domain.
const CHOSEN: &str = "\n    AND l.slug = decodeURLComponent('${link:percentencode}') \
    AND ('${domain:percentencode}' = '' OR l.domain IN ('', decodeURLComponent('${domain:percentencode}')))";

/// The time for which each replay ran.
fn replays() -> Value {
    let sql = "\
SELECT
  assumeNotNull(r.started_at) AS time,
  ifNull(r.ended_at, now64(6)) AS timeEnd,
  concat('Replay ', r.id) AS title,
  concat(toString(r.rewritten), ' clicks rewritten, ', r.state, if(r.reason = '', '', concat(': ', r.reason))) AS text,
  'replay' AS tags
FROM replays AS r
INNER JOIN jobs AS j ON j.id = r.id
WHERE r.started_at <= $__toTime AND ifNull(r.ended_at, now64(6)) >= $__fromTime
  AND NOT JSONExtractBool(j.plan, 'writes_dead_letters')
ORDER BY time DESC
LIMIT 100";
    annotation("Replays", "purple", true, sql)
}

/// The time from each skip to the end of the job that processed what it left out.
fn filled_gaps() -> Value {
    let sql = "\
SELECT
  j.created_at AS time,
  if(j.state = 'done', j.updated_at, now64(6)) AS timeEnd,
  concat(if(j.state = 'done', 'Gap filled, job ', 'Gap open, job '), j.id) AS title,
  concat(toString(j.counts['records']), ' records processed later, ', j.state) AS text,
  'gap' AS tags
FROM jobs AS j
WHERE j.kind = 'replay' AND JSONExtractBool(j.plan, 'writes_dead_letters')
  AND j.created_at <= $__toTime AND if(j.state = 'done', j.updated_at, now64(6)) >= $__fromTime
ORDER BY time DESC
LIMIT 100";
    annotation("Gaps filled", "green", true, sql)
}

/// When links changed: the time of the change of the newest version, and of older versions the first click in the range
/// (the table of links keeps the newest version of each). The oldest version among clicks has not changed in the range.
fn link_changes(chosen: &str, clicks: &str) -> String {
    format!(
        "SELECT\n  min(moment) AS time,\n  concat('Link changed: ', any(path)) AS title,\n  \
        concat('version ', toString(version), ', ', any(target)) AS text,\n  'link' AS tags\nFROM\n(\n  \
        SELECT *, min(version) OVER (PARTITION BY link) AS oldest\n  FROM\n  (\n    \
        SELECT l.link_id AS link, l.version AS version, l.changed_at AS moment, \
        concat(l.domain, '/', l.slug) AS path, \
        multiIf(l.deleted, 'deleted', l.disabled, 'disabled', l.target_url) AS target, true AS is_change\n    \
        FROM links AS l\n    WHERE $__timeFilter(l.changed_at) AND l.version > 1{chosen}{clicks}\n  )\n)\n\
        WHERE is_change OR version > oldest\nGROUP BY link, version\nORDER BY time DESC\nLIMIT 100"
    )
}
