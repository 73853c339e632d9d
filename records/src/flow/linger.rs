//! How long a batch lingers: a short time without a backlog, somewhat longer at a high rate, and a long time
//! with a backlog.
//!
//! Pure: time and lag are arguments.

use std::time::Duration;

use crate::flow::block::SizeLimits;

/// How long a batch of few records waits without a backlog.
const SHORT: Duration = Duration::from_millis(500);
/// How long a batch of [`MANY`] records waits without a backlog: each insert costs the server a fixed time, and a
/// row is merged the more often the smaller its insert is.
const MEDIUM: Duration = Duration::from_millis(600);
/// What makes a batch worth the longer wait: 3,000 records a second.
const MANY: usize = 1_500;
/// How long it waits with one: large inserts nearly halve the server's work.
const LONG: Duration = Duration::from_secs(5);

/// What a batch may hold, and how long it waits to be filled.
#[derive(Debug, Clone, Copy)]
pub struct Linger {
    /// What a batch may hold.
    pub limits: SizeLimits,
}

impl Linger {
    /// How long the first of `rows` records waits while `lag` records of the log were not read yet. The
    /// wait is long only if the backlog can fill the batch.
    pub fn wait(self, rows: usize, lag: u64) -> Duration {
        let missing = self.limits.rows_max.saturating_sub(rows);
        match rows {
            _ if lag >= missing as u64 => LONG,
            MANY.. => MEDIUM,
            _ => SHORT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Linger = Linger { limits: SizeLimits { rows_max: 500_000, bytes_max: 1 } };

    #[test]
    fn a_batch_lingers_longer_when_the_backlog_can_fill_it() {
        assert_eq!(LINGER.wait(1, 0), SHORT);
        assert_eq!(LINGER.wait(1_499, 1_000), SHORT);
        assert_eq!(LINGER.wait(1_500, 1_000), MEDIUM);
        assert_eq!(LINGER.wait(100_000, 399_999), MEDIUM, "the rest would not fill it");
        assert_eq!(LINGER.wait(100_000, 400_000), LONG);
    }
}
