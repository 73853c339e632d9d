//! A time on the command line: RFC 3339, or how long ago.
#![expect(
    clippy::disallowed_methods,
    reason = "a time given as an age is resolved once, when parsed"
)]

use jiff::civil::DateTime;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// Parses a time such as `2026-02-01T08:00:00Z`, or an age such as `2h`, which is resolved now.
///
/// # Errors
/// It is neither, or lies outside the years that a time may have.
pub fn filter_time(text: &str) -> Result<Timestamp, String> {
    time_at(text, Timestamp::now())
}

/// Parses the first time of a window, which is not in the future.
///
/// # Errors
/// As [`filter_time`]; the time is in the future.
pub fn window_start(text: &str) -> Result<Timestamp, String> {
    start_at(text, Timestamp::now())
}

fn start_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match time_at(text, now)? {
        time if time > now => {
            Err(format!("the window begins in the future (now is {now:.0}, UTC)"))
        }
        time => Ok(time),
    }
}

fn time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Err(format!("the zone is missing: {local}Z is UTC"));
    }
    let invalid = || "not a time such as 2026-02-01T08:00:00Z, or an age such as 90s, 2h or 7d";
    let age: Span = text.parse().map_err(|_| invalid())?;
    let age = age.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
    if age.is_negative() {
        return Err("an age is not negative".to_owned());
    }
    now.checked_sub(age).map_err(|_| invalid().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_an_age_is_read_and_anything_else_is_refused() {
        let now: Timestamp = "2026-02-01T08:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-31T23:59:59.5Z", "2026-01-31T23:59:59.5Z"),
            ("2026-02-01T08:00:00+01:00", "2026-02-01T07:00:00Z"),
            ("2h", "2026-02-01T06:00:00Z"),
            ("90s", "2026-02-01T07:58:30Z"),
            ("1h 30m", "2026-02-01T06:30:00Z"),
            ("7d", "2026-01-25T08:00:00Z"),
            ("0s", "2026-02-01T08:00:00Z"),
        ] {
            assert_eq!(time_at(text, now), Ok(expected.parse().unwrap()), "{text}");
        }
        for bad in
            ["", "2", "h", "-2h", "2 moons", "1mo", "2026-02-01", "99999999999999999d", "'; --"]
        {
            assert!(time_at(bad, now).is_err(), "{bad}");
        }
        for local in ["2026-02-01T08:00:00", "2026-02-01 08:00"] {
            let refused = time_at(local, now).unwrap_err();
            assert_eq!(refused, "the zone is missing: 2026-02-01T08:00:00Z is UTC", "{local}");
        }
    }

    #[test]
    fn a_window_does_not_begin_in_the_future() {
        let now: Timestamp = "2026-02-01T08:00:00.5Z".parse().unwrap();
        assert!(start_at("2026-02-01T08:00:00Z", now).is_ok() && start_at("0s", now).is_ok());
        let refused = start_at("2026-02-01T08:00:01Z", now).unwrap_err();
        assert_eq!(refused, "the window begins in the future (now is 2026-02-01T08:00:00Z, UTC)");
    }
}
