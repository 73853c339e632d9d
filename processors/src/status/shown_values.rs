//! Values as a person reads them: durations, bytes, shares. Pure.

/// Seconds, in their largest unit.
pub(super) fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s")];
    let unit = UNITS.iter().find(|(size, _)| seconds.abs() >= 2.0 * size);
    let (size, name) = unit.unwrap_or(&(1.0, "s"));
    format!("{:.0} {name}", (seconds / size).trunc())
}

/// The time since a time of the past, both in milliseconds since 1970.
pub(super) fn since(then_ms: i64, now_ms: i64) -> String {
    duration((now_ms.saturating_sub(then_ms) / 1000) as f64)
}

/// Bytes, in their largest unit.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [(f64, &str); 3] =
        [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, name)) => format!("{:.1} {name}", bytes / size),
        None => format!("{bytes:.0} B"),
    }
}

/// A share of 1, in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_unit_that_a_person_reads() {
        let shown = [0.0, 59.0, 119.0, 120.0, 7_300.0, 200_000.0, -400.0].map(duration);
        assert_eq!(shown, ["0 s", "59 s", "119 s", "2 min", "2 h", "2 d", "-6 min"]);
        assert_eq!(
            [0.0, 1_023.0, 1_536.0, 5e9].map(bytes),
            ["0 B", "1023 B", "1.5 KiB", "4.7 GiB"]
        );
        assert_eq!((percent(0.625), since(1_000, 91_500)), ("62 %".to_owned(), "90 s".to_owned()));
    }
}
