//! A day of log time, in UTC. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogDay(pub i32);

impl LogDay {
    /// Its first millisecond, since 1970.
    pub fn start_ms(self) -> i64 {
        i64::from(self.0) * DAY_MS
    }
}

impl fmt::Display for LogDay {
    /// Year, month and day.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.start_ms()) {
            Ok(time) => write!(f, "{}", time.strftime("%F")),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for LogDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unreadable = |error: jiff::Error| format!("the day {text:?} cannot be read: {error}");
        let date: Date = text.parse().map_err(unreadable)?;
        let since = Date::constant(1970, 1, 1).until(date).map_err(unreadable)?;
        Ok(Self(since.get_days()))
    }
}

impl TryFrom<String> for LogDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LogDay> for String {
    fn from(day: LogDay) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_from_its_text_and_begins_at_midnight_utc() {
        for (day, text) in [(0, "1970-01-01"), (20_785, "2026-11-28"), (-1, "1969-12-31")] {
            assert_eq!(LogDay(day).to_string(), text);
            assert_eq!(text.parse(), Ok(LogDay(day)));
        }
        assert_eq!(LogDay(2).start_ms(), 172_800_000);
        assert!("2026-13-01".parse::<LogDay>().is_err() && "day 5".parse::<LogDay>().is_err());
    }
}
