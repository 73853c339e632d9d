//! Panels of *Pipeline*: dead letters, the balance of log and table, replays and rules.

use serde_json::json;

use crate::generate::column::Column;
use crate::generate::look::{Colour, Unit};
use crate::generate::panel::Panel;
use crate::generate::table::table;
use crate::generate::time_series::counted_series;

/// A text that may be empty. Without a text of its own, an empty cell shows that of an empty panel.
fn optional(name: &str, title: &str) -> Column {
    Column::text(name, title).property("noValue", json!("–"))
}

/// A time series of metrics.
fn series(title: &str, description: &str) -> Panel {
    counted_series(title, description).no_value("Prometheus has no such metric")
}

/// The causes of dead letters, each with the commands to run.
pub(crate) fn dead_letter_groups() -> Panel {
    let description = "Records that cannot become rows, by cause, of all times. Open: no operator has acted on them. Run \
        the command of a row on a host of the processors; the code has a heading in RUNBOOK.md that helps to decide between \
        redrive and discard. A dry run changes nothing: without --dry-run the command redrives.";
    let sql = "\
SELECT
  d.code AS code,
  d.pattern AS message,
  countIf(d.state IN ('open', 'failed_again')) AS open,
  countIf(d.state = 'pending') AS pending,
  count() AS letters,
  max(d.last_failed_at) AS last,
  multiIf(
    open > 0, concat('processors dlq redrive --group ', d.group_id, ' --dry-run'),
    pending > 0, 'processors dlq jobs',
    concat('processors dlq ls --group ', d.group_id)) AS command
FROM dead_letters AS d
GROUP BY d.group_id, d.code, d.pattern
ORDER BY open DESC, pending DESC, last DESC
LIMIT 50";
    table("Dead letters by cause", description)
        .no_value("There is no dead letter")
        .column(&Column::text("code", "Code").width(170))
        .column(&Column::text("message", "Message"))
        .column(&Column::count("open", "Open").colour(Colour::Bad))
        .column(&Column::count("pending", "Pending"))
        .column(&Column::count("letters", "All"))
        .column(&Column::new("last", "Last failure", Unit::Ago).width(140))
        .column(&Column::text("command", "Command").width(400))
        .sql(sql)
        .size(24, 8)
}

/// Dead letters by state.
pub(crate) fn dead_letters_held() -> Panel {
    let description = "Dead letters in the table, by code and state. Open ones and those that failed again page \
        (DeadLettersOpen); pending ones are a ticket after an hour.";
    series("Dead letters held", description)
        .unit(Unit::Short)
        .no_value("No dead letter is held, or the number is not known")
        .promql(
            "max by (code, state) (clicktrail_processors_dead_letters_held) > 0",
            "{{code}} {{state}}",
        )
}

/// New dead letters.
pub(crate) fn dead_letters_written() -> Panel {
    let description = "Records that became dead letters, by code; of these, those of which only a part was kept; and batches \
        of the dead-letter topic that cannot be read. Prometheus does not see the first ones of a code after a start of the \
        processors: \"Dead letters held\" does.";
    series("New dead letters", description)
        .unit(Unit::Short)
        .no_value("No record became a dead letter in this time range")
        .promql("sum by (code) (increase(clicktrail_processors_dead_letters_total[$__rate_interval]))", "{{code}}")
        .promql("sum by (code) (increase(clicktrail_processors_dead_letter_stubs_total[$__rate_interval]))", "{{code}}, cut")
        .promql("sum by (code) (increase(clicktrail_processors_dead_letters_refused_total[$__rate_interval]))", "{{code}}, unreadable")
}

/// What the audit finds.
pub(crate) fn audit_findings() -> Panel {
    let description = "What each run of `processors audit --follow` found in its window: events of the log that are neither \
        row nor dead letter (missing), rows beyond the first of an event (counted twice), records that are neither row nor \
        dead letter (undecodable), rows on another shard than their own, and what the processors or a job have still to \
        process. The first four page.";
    series("Audit", description)
        .unit(Unit::Short)
        .no_value("`processors audit --follow` does not run, or is not scraped")
        .promql("max(clicktrail_audit_missing)", "missing")
        .promql("max(clicktrail_audit_duplicates)", "counted twice")
        .promql("max(clicktrail_audit_undecodable_without_dead_letter)", "undecodable")
        .promql("max(clicktrail_audit_misplaced)", "on a wrong shard")
        .promql("max(clicktrail_audit_lagging)", "lagging")
        .promql("max(clicktrail_audit_in_job)", "in a job")
}

/// Whether the audit works.
pub(crate) fn audit_runs() -> Panel {
    let description = "Seconds since the last complete run (a ticket above 300 s), its duration, share of its records that were \
        too young to be compared, seconds for which all were (a ticket above 900 s: the broker's clock is ahead), seconds since the \
        first difference that no later audit has compared again (a ticket), failed runs and verdicts that could not be stored, by code.";
    series("Audit runs", description)
        .unit(Unit::Short)
        .no_value("`processors audit --follow` does not run, or is not scraped")
        .promql(
            "time() - max(clicktrail_audit_last_run_timestamp_seconds > 0)",
            "since the last run, s",
        )
        .promql("max(clicktrail_audit_run_seconds)", "duration, s")
        .promql(
            "max(clicktrail_audit_records_within_grace / clicktrail_audit_records)",
            "too young, share",
        )
        .promql(
            "time() - max(clicktrail_audit_judges_nothing_timestamp_seconds > 0)",
            "nothing compared for, s",
        )
        .promql(
            "time() - max(clicktrail_audit_differences_from_timestamp_seconds > 0)",
            "differs since, s",
        )
        .promql(
            "sum by (code) (increase(clicktrail_audit_failures_total[$__rate_interval]))",
            "failed: {{code}}",
        )
        .promql(
            "sum by (code) (increase(clicktrail_audit_verdict_failures_total[$__rate_interval]))",
            "not stored: {{code}}",
        )
}

/// Changes of the verdict.
pub(crate) fn verdicts() -> Panel {
    let description = "Each change of the verdict of `processors audit --follow` in the time range, and of `processors audit`, which \
        compares all of the log, the newest first, with the log time up to which log and table were compared, and the time of \
        the first difference. The state `unknown` has the code of its reason, which has a heading in RUNBOOK.md. Other rows: rows \
        on a wrong shard, and rows without a record. Gap: seconds of the log between two verdicts that neither has compared; \
        `processors audit` compares them.";
    let sql = "\
SELECT judged_at AS time, state, code, if(is_log, 'all', 'window') AS compared, logged_until AS until, differences_from AS since,
  missing, duplicates, undecodable, others, lagging, in_jobs,
  if(state = 'unknown', 0, greatest(0, dateDiff('second', previous_until, logged_from))) AS gap
FROM
(
  SELECT
    v.judged_at AS judged_at, v.state AS state, v.code AS code, v.logged_from AS logged_from, v.logged_until AS logged_until,
    v.scope = 'log' AS is_log, v.differences_from AS differences_from,
    v.missing AS missing, v.duplicates AS duplicates, v.undecodable AS undecodable, v.misplaced + v.surplus AS others, v.lagging AS lagging,
    arraySum(mapValues(v.in_jobs)) AS in_jobs,
    lagInFrame(concat(v.state, v.code)) OVER changes AS previous,
    maxIf(v.logged_until, v.state != 'unknown') OVER (PARTITION BY v.topic ORDER BY v.judged_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_until
  FROM audit_verdicts AS v
  WHERE $__timeFilter(v.judged_at)
  WINDOW changes AS (PARTITION BY v.topic, v.group_id, v.scope = 'log' ORDER BY v.judged_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE concat(state, code) != previous OR gap > 0
ORDER BY time DESC
LIMIT 50";
    table("Verdicts", description)
        .no_value("The audit has stored no verdict in this time range")
        .column(&Column::new("time", "Since", Unit::Moment).width(180))
        .column(&Column::text("state", "State").width(130))
        .column(&optional("code", "Code"))
        .column(&Column::text("compared", "Compared").width(100))
        .column(
            &Column::new("until", "Compared until", Unit::Moment)
                .property("noValue", json!("–"))
                .width(180),
        )
        .column(
            &Column::new("since", "Differ since", Unit::Moment)
                .property("noValue", json!("–"))
                .width(180),
        )
        .column(&Column::count("missing", "Missing"))
        .column(&Column::count("duplicates", "Counted twice").width(130))
        .column(&Column::count("undecodable", "Undecodable").width(120))
        .column(&Column::count("others", "Other rows").width(100))
        .column(&Column::count("lagging", "Lagging"))
        .column(&Column::count("in_jobs", "In jobs"))
        .column(&Column::new("gap", "Gap", Unit::Seconds).width(80))
        .sql(sql)
        .size(24, 7)
}

/// Replays with the command that continues or describes each.
pub(crate) fn replays() -> Panel {
    let description = "The newest replays of the log. Run the command of a row on a host of the processors. Verdict: what the \
        audit of the replay's ranges found. Records: of the log. Rewritten: clicks whose rows were inserted again. Several \
        records of one click are one click, and records that are no clicks are dead letters. Missing: clicks that are neither row nor dead letter.";
    let sql = "\
SELECT
  r.state AS state,
  r.verdict AS verdict,
  r.planned_at AS planned,
  r.records AS records,
  r.rewritten AS rewritten,
  r.missing AS missing,
  r.reason AS reason,
  concat('processors replay ', if(r.state IN ('planned', 'cancelled', 'failed', 'unverified'), 'run ', 'status '), r.id) AS command
FROM replays AS r
ORDER BY r.updated_at DESC
LIMIT 20";
    table("Replays", description)
        .no_value("No replay was ever planned")
        .column(&Column::text("state", "State").width(100))
        .column(&optional("verdict", "Verdict").width(110))
        .column(&Column::new("planned", "Planned", Unit::Ago).width(120))
        .column(&Column::count("records", "Records"))
        .column(&Column::count("rewritten", "Rewritten").width(100))
        .column(&Column::count("missing", "Missing"))
        .column(&optional("reason", "Reason"))
        .column(&Column::text("command", "Command").width(520))
        .sql(sql)
        .size(24, 7)
}

/// How far replays are.
pub(crate) fn replay_progress() -> Panel {
    let description = "Share of its offsets that a running replay has processed (a short replay ends before Prometheus reads it), records a second, and the causes for which it \
        pauses.";
    series("Replay progress", description)
        .unit(Unit::Short)
        .no_value("Prometheus read no replay in this time range: none ran, it was shorter than a scrape interval, or it is not scraped")
        .column(&Column::new("done", "done", Unit::Share))
        .promql("max(clicktrail_replay_offsets_done) / max(clicktrail_replay_offsets)", "done")
        .promql(
            "sum(rate(clicktrail_replay_records_read_total[$__rate_interval]))",
            "records a second",
        )
        .promql("max by (cause) (clicktrail_replay_paused) > 0", "paused: {{cause}}")
        .promql(
            "max by (stage, code) (clicktrail_replay_stuck_seconds) > 0",
            "{{stage}} fails, s: {{code}}",
        )
}

/// Jobs by state.
pub(crate) fn jobs() -> Panel {
    let description = "Redrives and replays by state. `silent`: no process works on a job that needs one. `open_gap`: skipped \
        offsets have no rows, and no process fills the gap. Both open a ticket.";
    series("Jobs", description)
        .unit(Unit::Short)
        .no_value("There is no job, or the number is not known")
        .promql("max by (kind, state) (clicktrail_processors_jobs) > 0", "{{kind}} {{state}}")
}

/// Rows of other rules than the newest.
pub(crate) fn stale_rows() -> Panel {
    let description = "How many clicks of the time range were enriched by another version of a rule table, or of the program's \
        rules, than the newest click of the last seven days. Without a click in these days, the newest rules are not known. Share is of \
        all clicks of the time range. Charts mix both versions until these clicks are replayed.";
    let sql = "\
WITH
(
  SELECT argMax((c.enrich_version, c.geo_db_build, c.ua_rules_version, c.bot_rules_version, c.referrer_rules_version, true), c.ingested_at)
  FROM clicks AS c
  WHERE c.occurred_at > now() - toIntervalDay(7)
) AS newest
SELECT rules.1 AS rules_of, rules.2 AS stale, stale / clicks AS share, clicks,
  if(stale = 0, '', concat('processors replay plan --stale ', rules.3)) AS command
FROM
(
  SELECT count() AS clicks, arrayJoin([
    ('program', countIf(c.enrich_version != newest.1), 'code'),
    ('geo', countIf(c.geo_db_build != newest.2), 'geo'),
    ('user_agents', countIf(c.ua_rules_version != newest.3), 'agents'),
    ('crawlers', countIf(c.bot_rules_version != newest.4), 'bots'),
    ('referrers', countIf(c.referrer_rules_version != newest.5), 'referrers')]) AS rules
  FROM clicks AS c
  WHERE $__timeFilter(c.occurred_at)
)
WHERE clicks > 0 AND newest.6";
    table("Stale rows", description)
        .no_value("No click in this time range, or none in the last seven days")
        .column(&Column::text("rules_of", "Rules"))
        .column(&Column::count("stale", "Stale clicks"))
        .column(&Column::share())
        .column(&Column::count("clicks", "Clicks"))
        .column(&optional("command", "Command").width(310))
        .sql(sql)
        .size(12, 8)
}

/// The rule tables in use.
pub(crate) fn rule_tables() -> Panel {
    let description = "Days since the rule tables were loaded or, of the geo database, built: a ticket above 90 days \
        (RuleTableOld). 0 under \"usable\": the file is missing or refused.";
    series("Rule tables", description)
        .unit(Unit::Short)
        .no_value("Prometheus has no such metric: are the processors scraped?")
        .promql("(time() - max by (table) (clicktrail_processors_rules_built_timestamp_seconds > 0)) / 86400", "{{table}}, days since it was built")
        .promql("(time() - max by (table) (clicktrail_processors_rules_loaded_timestamp_seconds > 0)) / 86400", "{{table}}, days since it was loaded")
        .promql("min by (table) (clicktrail_processors_rules_file_good)", "{{table}} usable")
        .promql("sum by (table) (increase(clicktrail_processors_rules_refused_total[$__rate_interval]))", "{{table}} refused")
}
