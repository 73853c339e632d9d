//! The interval of a query: the range of time divided by the number of points, rounded as Grafana rounds it.

/// Each pair: below the first number of milliseconds, the interval is the second one.
const ROUNDED: [(i64, i64); 29] = [
    (10, 1),
    (15, 10),
    (35, 20),
    (75, 50),
    (150, 100),
    (350, 200),
    (750, 500),
    (1_500, 1_000),
    (3_500, 2_000),
    (7_500, 5_000),
    (12_500, 10_000),
    (17_500, 15_000),
    (25_000, 20_000),
    (45_000, 30_000),
    (90_000, 60_000),
    (210_000, 120_000),
    (450_000, 300_000),
    (750_000, 600_000),
    (1_050_000, 900_000),
    (1_500_000, 1_200_000),
    (2_700_000, 1_800_000),
    (5_400_000, 3_600_000),
    (9_000_000, 7_200_000),
    (16_200_000, 10_800_000),
    (32_400_000, 21_600_000),
    (86_400_000, 43_200_000),
    (604_800_000, 86_400_000),
    (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
];
/// Above all of them: a year.
const YEAR_MS: i64 = 31_536_000_000;

/// The milliseconds of one step of a line of `points` points over `range_ms`, at least `least_ms`.
#[must_use]
pub fn interval_ms(range_ms: i64, points: u32, least_ms: i64) -> i64 {
    let step = range_ms.max(0) / i64::from(points.max(1));
    let rounded = ROUNDED.iter().find(|(below, _)| step < *below);
    rounded.map_or(YEAR_MS, |(_, rounded)| *rounded).max(least_ms)
}

/// The milliseconds of an interval as a panel states it, such as `15s` or `1h`; a number alone is of seconds.
#[must_use]
pub(crate) fn parsed_ms(text: &str) -> Option<i64> {
    let text = text.trim().trim_start_matches('>');
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        "M" => 2_592_000_000,
        "y" => YEAR_MS,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

/// An interval in its largest unit, as Grafana's `$__interval`.
#[must_use]
pub(crate) fn in_largest_unit(seconds: i64) -> String {
    let units = [(31_536_000, "y"), (86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(size, _)| seconds >= *size);
    let (size, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / size)
}

/// A duration in hours, minutes and seconds, as `$__rate_interval`.
#[must_use]
pub(crate) fn in_all_units(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_rounded_as_grafana_rounds_it() {
        const HOUR: i64 = 3_600_000;
        for (range, points, least, expected) in [
            (0, 100, 0, 1),
            (HOUR, 1_000, 1, 5_000),
            (6 * HOUR, 1_000, 15_000, 20_000),
            (24 * HOUR, 1_000, 1, 60_000),
            (7 * 24 * HOUR, 1_000, 1, 600_000),
            (30 * 24 * HOUR, 1_000, 1, 1_800_000),
            (30 * 24 * HOUR, 60, 1, 43_200_000),
            (30 * 24 * HOUR, 60, 86_400_000, 86_400_000),
            (365 * 24 * HOUR, 10, 1, 2_592_000_000),
            (3_650 * 24 * HOUR, 10, 1, YEAR_MS),
        ] {
            assert_eq!(interval_ms(range, points, least), expected, "{range} {points} {least}");
        }
    }

    #[test]
    fn intervals_of_panels_are_read_and_written() {
        for (text, ms) in
            [("1m", Some(60_000)), ("15s", Some(15_000)), ("30", Some(30_000)), ("x", None)]
        {
            assert_eq!(parsed_ms(text), ms, "{text}");
        }
        assert_eq!([20, 60, 90, 7_200].map(in_largest_unit), ["20s", "1m", "1m", "2h"]);
        assert_eq!([15, 60, 75, 3_615].map(in_all_units), ["15s", "1m0s", "1m15s", "1h0m15s"]);
    }
}
