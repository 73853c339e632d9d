//! What an operator allows a replay to take from live processing, and the requests that change it. Pure.

use std::fmt;
use std::str::FromStr;

/// The limit of the lag of live processing, unless an operator changes it: twice the time from a click to its
/// row.
const MAX_LAG_SECONDS: u32 = 3;
/// The limit of active parts, likewise: ClickHouse delays inserts from 1,000 parts of a partition on.
const MAX_PARTS: u32 = 300;
/// The text of no limit.
const NONE: &str = "none";

const RATE: &str = "rate";
const MAX_LAG: &str = "max_lag";
const MAX_PARTS_NAME: &str = "max_parts";
const PAUSE: &str = "pause";
const RESUME: &str = "resume";

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleLimit(pub Option<u32>);

impl FromStr for ThrottleLimit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == NONE {
            return Ok(Self(None));
        }
        let limit = text.parse().ok().filter(|limit| *limit > 0);
        limit.map(|limit| Self(Some(limit))).ok_or("neither a number from 1 on nor `none`")
    }
}

impl fmt::Display for ThrottleLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "{limit}"),
            None => f.write_str(NONE),
        }
    }
}

/// The limits of one replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Records a second that all workers together read.
    pub rate: ThrottleLimit,
    /// Seconds by which live processing may be late.
    pub max_lag_seconds: ThrottleLimit,
    /// Active parts of a partition of the table of clicks.
    pub max_parts: ThrottleLimit,
    /// An operator has paused the replay.
    pub is_paused: bool,
}

impl Default for ThrottleLimits {
    fn default() -> Self {
        Self {
            rate: ThrottleLimit(None),
            max_lag_seconds: ThrottleLimit(Some(MAX_LAG_SECONDS)),
            max_parts: ThrottleLimit(Some(MAX_PARTS)),
            is_paused: false,
        }
    }
}

impl ThrottleLimits {
    /// The limits that hold after `requests` (names and values in the order of their times). Each request
    /// changes one limit; one that this version does not know is skipped.
    pub fn after<'r>(requests: impl IntoIterator<Item = (&'r str, &'r str)>) -> Self {
        let changes = requests.into_iter().filter_map(|(name, value)| LimitChange::of(name, value));
        changes.fold(Self::default(), Self::with)
    }

    /// The limits after a change.
    #[must_use]
    pub fn with(self, change: LimitChange) -> Self {
        match change {
            LimitChange::Rate(rate) => Self { rate, ..self },
            LimitChange::MaxLag(max_lag_seconds) => Self { max_lag_seconds, ..self },
            LimitChange::MaxParts(max_parts) => Self { max_parts, ..self },
            LimitChange::Pause => Self { is_paused: true, ..self },
            LimitChange::Resume => Self { is_paused: false, ..self },
        }
    }
}

impl fmt::Display for ThrottleLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, max_lag_seconds, max_parts, is_paused } = self;
        write!(f, "rate {rate}, max lag seconds {max_lag_seconds}, max parts {max_parts}")?;
        if *is_paused { f.write_str(", paused by an operator") } else { Ok(()) }
    }
}

/// A request of an operator that changes a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitChange {
    /// Read so many records a second.
    Rate(ThrottleLimit),
    /// Pause while live processing is later by so many seconds.
    MaxLag(ThrottleLimit),
    /// Pause while a partition has more active parts.
    MaxParts(ThrottleLimit),
    /// Pause.
    Pause,
    /// End the pause of an operator.
    Resume,
}

impl LimitChange {
    /// The request of this name and value in the table of requests.
    fn of(name: &str, value: &str) -> Option<Self> {
        let limit = || value.parse().ok();
        match name {
            RATE => limit().map(Self::Rate),
            MAX_LAG => limit().map(Self::MaxLag),
            MAX_PARTS_NAME => limit().map(Self::MaxParts),
            PAUSE => Some(Self::Pause),
            RESUME => Some(Self::Resume),
            _ => None,
        }
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate(_) => RATE,
            Self::MaxLag(_) => MAX_LAG,
            Self::MaxParts(_) => MAX_PARTS_NAME,
            Self::Pause => PAUSE,
            Self::Resume => RESUME,
        }
    }

    /// Its value in the table.
    pub fn value(self) -> String {
        match self {
            Self::Rate(limit) | Self::MaxLag(limit) | Self::MaxParts(limit) => limit.to_string(),
            Self::Pause | Self::Resume => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_request_of_each_limit_holds_and_others_are_skipped() {
        assert_eq!(ThrottleLimits::after([]), ThrottleLimits::default());
        let limit = |limit| ThrottleLimit(Some(limit));
        let changes = [
            LimitChange::Rate(limit(5)),
            LimitChange::Pause,
            LimitChange::MaxLag(ThrottleLimit(None)),
            LimitChange::Rate(limit(7)),
            LimitChange::MaxParts(limit(40)),
        ];
        let stored = changes.map(|change| (change.name(), change.value()));
        let requests = || stored.iter().map(|(name, value)| (*name, value.as_str()));
        let skipped = [("cancel", ""), ("rate", "0"), ("rate", "x"), ("other", "3")];
        let limits = ThrottleLimits::after(requests().chain(skipped));
        let expected = ThrottleLimits {
            rate: limit(7),
            max_lag_seconds: ThrottleLimit(None),
            max_parts: limit(40),
            is_paused: true,
        };
        assert_eq!(limits, expected);
        let shown = "rate 7, max lag seconds none, max parts 40, paused by an operator";
        assert_eq!(limits.to_string(), shown);
        let resumed = ThrottleLimits::after(requests().chain([("resume", "")]));
        assert_eq!(resumed, ThrottleLimits { is_paused: false, ..expected });
    }
}
