//! The badge of every dashboard: how fresh its figures are, and until when log and table are known to balance.

use serde_json::{Value, json};

use crate::generate::look::{self, Colour, Unit};
use crate::generate::panel::Panel;
use crate::generate::stat::stat;

/// Both panels, each of this width.
pub(crate) fn badge(width: u32) -> [Panel; 2] {
    [newest_click().size(width, 4), balance().size(width, 4)]
}

/// A text whose start names its colour.
fn state(title: &str, description: &str, colours: &[(&str, Colour)]) -> Panel {
    let mapping = |(number, (start, colour)): (usize, &(&str, Colour))| {
        let result = json!({ "color": colour.name(), "index": number });
        json!({ "type": "regex", "options": { "pattern": format!("/{start}/"), "result": result } })
    };
    let mappings: Vec<Value> = colours.iter().enumerate().map(mapping).collect();
    stat(title, description)
        .unit(Unit::Text)
        .default("mappings", json!(mappings))
        .default("color", json!({ "mode": "thresholds" }))
        .default("thresholds", look::thresholds(Colour::Unknown, &[]))
        .option(
            "reduceOptions",
            json!({ "calcs": ["lastNotNull"], "fields": "/.*/", "values": false }),
        )
        .option("textMode", json!("value"))
}

/// The age of the newest click that the table has. The newest verdict of the audit separates a log without newer clicks from
/// one whose clicks are not processed.
fn newest_click() -> Panel {
    let description = "Age of the newest click in the table, by the time at which the log took it. \"no newer click in the \
        log\": no click came since, as far as the audit has read. \"clicks wait in the log\": the processors are behind. \
        \"cause unknown\": no audit has compared that time, or rows are missing. Clicks that wait in a producer are on the dashboard Pipeline.";
    let colours = [
        ("click in the log$", Colour::Unknown),
        ("wait in the log$", Colour::Bad),
        ("cause unknown$", Colour::Warning),
        (" ago$", Colour::Good),
    ];
    let sql = "\
WITH
  (SELECT count() FROM clicks AS c WHERE c.occurred_at > now() - toIntervalMinute(10)) > 0 AS is_recent,
  (SELECT argMax((b.newest_state, b.newest_code, b.lagging, b.missing + b.undecodable + arraySum(mapValues(b.in_jobs))), b.judged_at) FROM audit_balance AS b) AS audit,
  audit.1 IN ('balanced', 'out_of_balance') AS is_compared
SELECT
  multiIf(
    clicks = 0, 'No click in seven days',
    age <= 60, concat(toString(age), ' s ago'),
    audit.2 = 'group_behind' OR (is_compared AND audit.3 > 0), concat(passed, ' ago, clicks wait in the log'),
    is_compared AND audit.4 = 0, concat(passed, ' ago, no newer click in the log'),
    concat(passed, ' ago, cause unknown')) AS newest
FROM
(
  SELECT
    count() AS clicks,
    greatest(0, dateDiff('second', max(c.logged_at), now64(3))) AS age,
    multiIf(
      age < 7200, concat(toString(intDiv(age, 60)), ' min'),
      age < 172800, concat(toString(intDiv(age, 3600)), ' h'),
      concat(toString(intDiv(age, 86400)), ' days')) AS passed
  FROM clicks AS c
  WHERE c.occurred_at > now() - toIntervalSecond(if(is_recent, 600, 604800))
)";
    state("Newest click", description, &colours).no_value("No click in seven days").sql(sql)
}

/// The newest part of the log that balances with the table.
fn balance() -> Panel {
    let description = "The part of the log, by its time, that the newest audit has compared: each of its clicks counts exactly \
        once in these dashboards. \"except\": clicks that a replay has still to process. \"differences since\": an earlier audit \
        found some, and no later one has compared that part of the log again; `processors audit` does. \"Unknown\": no audit has \
        compared the time since, with the reason; a code has a heading in RUNBOOK.md. Of several logs, the one that is worst \
        is shown, up to seven days after its last audit.";
    let colours =
        [("^From", Colour::Good), ("^Not balanced", Colour::Bad), ("^Unknown", Colour::Warning)];
    let shown = |moment: &str| {
        format!(
            "if(toDate({moment}, zone) = toDate(now(), zone), formatDateTime({moment}, '%H:%i', zone), \
             trimLeft(formatDateTime({moment}, '%e %b %H:%i', zone)))"
        )
    };
    let sql = format!(
        "\
WITH
  decodeURLComponent('${{__timezone:percentencode}}') AS viewer_zone,
  if(viewer_zone = 'utc', 'UTC', viewer_zone) AS zone,
  assumeNotNull(b.balanced_until) AS known,
  {until} AS moment,
  assumeNotNull(b.balanced_from) AS known_from,
  {first} AS first_moment,
  concat('From ', first_moment, ' to ', moment) AS part,
  assumeNotNull(b.differences_from) AS since,
  {since_shown} AS since_moment,
  arraySum(mapValues(b.in_jobs)) AS in_jobs,
  if(in_jobs = 1, '1 click', concat(toString(in_jobs), ' clicks')) AS clicks,
  b.missing + b.undecodable + b.duplicates + b.misplaced + b.surplus AS found
SELECT
  multiIf(
    b.state = 'balanced' AND in_jobs = 0, part,
    b.state = 'balanced', concat(part, ', except ', clicks, ' of ', if(length(b.in_jobs) = 1, '1 open job', concat(toString(length(b.in_jobs)), ' open jobs'))),
    b.state = 'out_of_balance' AND found > 0,
      concat('Not balanced: ', toString(b.missing + b.undecodable), ' missing, ', toString(b.duplicates), ' counted twice',
        if(b.misplaced > 0, concat(', ', toString(b.misplaced), ' on a wrong shard'), ''),
        if(b.surplus > 0, concat(', ', toString(b.surplus), ' without a record'), '')),
    b.state = 'out_of_balance' AND notEmpty(b.ended_jobs),
      concat('Not balanced: ', clicks, ' of ', if(length(b.ended_jobs) = 1, '1 ended job', concat(toString(length(b.ended_jobs)), ' ended jobs'))),
    b.state = 'out_of_balance', concat('Not balanced: differences since ', since_moment, ', run processors audit'),
    concat('Unknown', if(isNull(b.balanced_until), '', concat(' since ', moment)), ': ',
      transform(b.code, ['no_verdict', 'group_behind'], ['the audit is silent', 'clicks wait in the log'], b.code))) AS balance
FROM audit_balance AS b
ORDER BY b.judged_at > now() - toIntervalDay(7) DESC, indexOf(['out_of_balance', 'unknown', 'balanced'], b.state), b.judged_at DESC
LIMIT 1",
        until = shown("known"),
        first = shown("known_from"),
        since_shown = shown("since"),
    );
    state("Log and table balance", description, &colours)
        .no_value("Unknown: no audit has stored a verdict")
        .sql(&sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_colour_of_its_own() {
        for panel in badge(6) {
            let json = panel.json(1, 0, 0);
            let mappings = json["fieldConfig"]["defaults"]["mappings"].as_array().unwrap();
            assert!(mappings.len() >= 3, "{json:#}");
            assert!(!json["fieldConfig"]["defaults"]["noValue"].as_str().unwrap().is_empty());
        }
    }
}
