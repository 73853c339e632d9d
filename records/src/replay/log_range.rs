//! A range of offsets of one partition. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The offsets from `first` to `end`, without `end`. Some of them may hold no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRange {
    /// First offset.
    pub first: i64,
    /// Position after the last offset.
    pub end: i64,
}

impl LogRange {
    /// Number of offsets.
    pub fn offsets(self) -> u64 {
        u64::try_from(self.end - self.first).unwrap_or(0)
    }

    /// Whether both have an offset in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first.max(other.first) < self.end.min(other.end)
    }

    /// Whether the range has this offset.
    pub fn contains(self, offset: i64) -> bool {
        (self.first..self.end).contains(&offset)
    }
}

impl fmt::Display for LogRange {
    /// First and last offset.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.end - 1)
    }
}

/// A range of a partition, written `PARTITION:FIRST-LAST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRange {
    /// Partition.
    pub partition: i32,
    /// Its offsets.
    pub range: LogRange,
}

impl FromStr for PartitionRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "not of the form PARTITION:FIRST-LAST, such as 0:1000-1999";
        let (partition, offsets) = text.split_once(':').ok_or(FORM)?;
        let (first, last) = offsets.split_once('-').ok_or(FORM)?;
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        let partition = number(partition).and_then(|number| i32::try_from(number).ok());
        let (Some(partition), Some(first), Some(last)) = (partition, number(first), number(last))
        else {
            return Err(FORM);
        };
        let end = last.checked_add(1).ok_or(FORM)?;
        if first >= end {
            return Err("the last offset is before the first one");
        }
        Ok(Self { partition, range: LogRange { first, end } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_from_its_text_and_anything_else_is_refused() {
        let expected = PartitionRange { partition: 3, range: LogRange { first: 10, end: 20 } };
        assert_eq!("3:10-19".parse(), Ok(expected));
        assert_eq!((expected.range.to_string(), expected.range.offsets()), ("10-19".into(), 10));
        assert_eq!("0:5-5".parse::<PartitionRange>().unwrap().range.offsets(), 1);
        for bad in ["", "3", "3:10", "3:19-10", "-1:0-1", "3:-1-5", "x:1-2", "3:1-2-3"] {
            assert!(bad.parse::<PartitionRange>().is_err(), "{bad}");
        }
        assert!(format!("0:0-{}", i64::MAX).parse::<PartitionRange>().is_err());
    }

    #[test]
    fn ranges_that_only_touch_do_not_overlap() {
        let range = |first, end| LogRange { first, end };
        assert!(range(0, 10).overlaps(range(9, 12)) && range(0, 10).overlaps(range(3, 4)));
        assert!(!range(0, 10).overlaps(range(10, 12)) && !range(5, 5).overlaps(range(0, 10)));
        assert!(range(2, 4).contains(3) && !range(2, 4).contains(4));
    }
}
