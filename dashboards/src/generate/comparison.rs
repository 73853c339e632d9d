//! The comparison with an earlier range, in SQL.

/// Definitions for `WITH`, after those of the range: by how much the earlier range lies before. Days and years are those of
/// the viewer's calendar, so that the same hours are compared over a change of the clock. The whole weeks are those of the
/// calendar, too, and a second more than them is none: the range of Grafana ends up to a second late.
pub(crate) const DEFINITIONS: &str = "\
  '${compare:percentencode}' IN ('previous', 'weekday', 'year') AS compared,
  dateDiff('second', begin, until) AS length,
  if('${compare:percentencode}' = 'previous', length, 0) AS seconds_before,
  if('${compare:percentencode}' = 'weekday', 7 * greatest(1, intDiv(length + timeZoneOffset(until) - timeZoneOffset(begin) + 604798, 604800)), 0) AS days_before,
  if('${compare:percentencode}' = 'year', 1, 0) AS years_before,
  subtractSeconds(subtractDays(subtractYears(begin, years_before), days_before), seconds_before) AS before_begin,
  subtractSeconds(subtractDays(subtractYears(until, years_before), days_before), seconds_before) AS before_until";

/// Clicks of the range, by their time, for queries that read it in any case. A condition on the bare column, by which the
/// table skips days.
pub(crate) const DURING_RANGE: &str = "(c.occurred_at >= begin AND c.occurred_at < until)";

/// The same of the range that is compared with.
pub(crate) const DURING_BEFORE: &str =
    "(compared AND c.occurred_at >= before_begin AND c.occurred_at < before_until)";

/// The relative change from one count to another: NULL where nothing is compared, NaN where nothing was before.
pub(crate) fn change(now: &str, before: &str) -> String {
    format!("multiIf(NOT compared, NULL, {before} = 0, nan, {now} / {before} - 1)")
}

/// An earlier figure from which a stat shows the change. A count of 0 is infinite: Grafana shows no change from infinity, and
/// skips NaN, so that the change would be that of the new figure from itself, 0 %.
pub(crate) fn earlier(figure: &str) -> String {
    format!("if({figure} > 0, toFloat64({figure}), inf)")
}

/// Seconds since 1970 of a click of the earlier range, moved by what is a number of seconds.
pub(crate) const SECONDS_FORWARD: &str = "toUnixTimestamp(c.occurred_at) + seconds_before";

/// A moment of the earlier range, moved by what is a number of days or years.
pub(crate) fn calendar_forward(moment: &str) -> String {
    // The arithmetic of calendars would move the second of two equal hours onto the first.
    format!(
        "if(days_before + years_before = 0, {moment}, addYears(addDays({moment}, days_before), years_before))"
    )
}
