//! What an operator asks to replay, before it is resolved to offsets. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::replay::log_range::LogRange;
use crate::replay::occurred_window::{OccurredWindow, time_text};
use crate::replay::row_selection::RowSelection;

/// The window of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogWindow {
    /// Records that the brokers appended from one time to another, without the second one. Times are
    /// resolved once, when the replay is planned.
    LogTime {
        /// First log time, milliseconds since 1970.
        from_ms: i64,
        /// Log time after the last one; `None`: to the end that the log has when the replay is planned.
        to_ms: Option<i64>,
    },
    /// Offsets by partition.
    Offsets(BTreeMap<i32, LogRange>),
    /// Records of clicks that occurred from one time to another. The log is read from a day before the first
    /// time to the end that it has when the replay is planned, since a click may be appended at any later time;
    /// records of other clicks are neither inserted nor verified.
    Occurred(OccurredWindow),
    /// Records of rows of the view `clicks`, and those between them where they are close to each other. A record
    /// without a row is read only where it is between two.
    Rows(RowSelection),
}

impl LogWindow {
    /// The clicks that are inserted and verified; `None`: all of those that are read.
    pub fn occurred(&self) -> Option<OccurredWindow> {
        match self {
            Self::Occurred(window) => Some(*window),
            Self::LogTime { .. } | Self::Offsets(_) | Self::Rows(_) => None,
        }
    }
}

impl fmt::Display for LogWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: i64| time_text(Timestamp::from_millisecond(ms), ms);
        match self {
            Self::LogTime { from_ms, to_ms: Some(to_ms) } => {
                write!(f, "log time from {} to {}", time(*from_ms), time(*to_ms))
            }
            Self::LogTime { from_ms, to_ms: None } => {
                write!(f, "log time from {} to the end of the log", time(*from_ms))
            }
            Self::Offsets(ranges) => {
                let texts: Vec<_> = ranges
                    .iter()
                    .map(|(partition, range)| format!("{partition}:{range}"))
                    .collect();
                write!(f, "offsets {}", texts.join(", "))
            }
            Self::Occurred(window) => write!(f, "clicks that occurred {window}"),
            Self::Rows(selection) => write!(f, "{selection}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_printed_with_its_resolved_times_or_its_offsets() {
        let to_ms = Some(1_764_000_060_500);
        let times = LogWindow::LogTime { from_ms: 1_764_000_000_000, to_ms };
        let expected = "log time from 2025-11-24T16:00:00Z to 2025-11-24T16:01:00.5Z";
        assert_eq!(times.to_string(), expected);
        let range = LogRange { first: 10, end: 20 };
        let offsets = LogWindow::Offsets([(1, range), (2, range)].into());
        assert_eq!(offsets.to_string(), "offsets 1:10-19, 2:10-19");
    }
}
