//! The limit of a value, as the expression of an alert compares it. Pure.

use std::fmt;

/// Which values are wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Those above.
    Above(f64),
    /// Those below.
    Below(f64),
    /// This one.
    Equal(f64),
}

impl Limit {
    /// Whether a value is wrong.
    pub fn is_wrong(self, value: f64) -> bool {
        match self {
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
            Self::Equal(wrong) => value == wrong,
        }
    }
}

impl fmt::Display for Limit {
    /// As PromQL compares with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(limit) => write!(f, "> {limit}"),
            Self::Below(limit) => write!(f, "< {limit}"),
            Self::Equal(wrong) => write!(f, "== {wrong}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_as_an_alert_compares_and_is_not_wrong_itself() {
        for (limit, text, wrong, right) in [
            (Limit::Above(0.5), "> 0.5", 0.51, 0.5),
            (Limit::Above(10_000.0), "> 10000", 10_001.0, 10_000.0),
            (Limit::Below(2.0), "< 2", 1.0, 2.0),
            (Limit::Equal(0.0), "== 0", 0.0, 1.0),
        ] {
            assert_eq!(limit.to_string(), text);
            assert!(limit.is_wrong(wrong) && !limit.is_wrong(right), "{limit}");
        }
    }
}
