//! The viewer's time zone, and the buckets of time that start in it, in SQL.

/// Definitions for `WITH`: the viewer's zone and the range, which holds `begin` and not `until`. Grafana ends a day with
/// its last millisecond, so that the end is rounded up to a second. Both have the type of `occurred_at`: for a condition
/// `occurred_at < until` with a DateTime, ClickHouse takes parts that begin in the last second for empty.
pub(crate) const RANGE: &str = "\
  decodeURLComponent('${__timezone:percentencode}') AS viewer_zone,
  if(viewer_zone = 'utc', 'UTC', viewer_zone) AS zone,
  toTimeZone(toDateTime64($__fromTime, 6), zone) AS begin,
  toDateTime64(intDiv(toUnixTimestamp64Milli($__toTime_ms) + 999, 1000), 6, zone) AS until";

/// The definition of `step` for `WITH`: the seconds of a bucket of a line.
pub(crate) const STEP: &str = "toUInt32($__interval_s) AS step";

/// Seconds since 1970 of a click, rounded down so far that no bucket divides what is counted together: all zones differ
/// from UTC by multiples of 15 minutes. Counting by it first makes the time zone's arithmetic cheap.
pub(crate) fn slot(seconds: &str) -> String {
    format!("intDiv({seconds}, gcd(step, 900)) * gcd(step, 900)")
}

/// The start of the bucket of a moment, which has the type `DateTime(zone)`; the result is in UTC. Buckets of days start
/// at the viewer's midnight, those of weeks on Monday. Shorter ones are counted from the last midnight, so that a day of
/// 23 or 25 hours has an hour less or more.
pub(crate) fn bucket(moment: &str) -> String {
    format!(
        "toTimeZone(if(step >= 86400,\n      \
         toDateTime(toDate(intDiv(toInt32(toDate({moment})) + 3, intDiv(step, 86400)) * intDiv(step, 86400) - 3), zone),\n      \
         toStartOfDay({moment}) + intDiv({moment} - toStartOfDay({moment}), step) * step), 'UTC')"
    )
}

/// A query of one column `slot` with moments in each bucket of the range, so that none is missing.
pub(crate) const EVERY_BUCKET: &str =
    "arrayJoin(range(toUnixTimestamp(begin), toUnixTimestamp(until), least(step, 1800)))";
