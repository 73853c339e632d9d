//! How long a batch lingers: a short time without a backlog, a long time with one.
//!
//! Pure: time and lag are arguments.

use std::time::Duration;

use crate::flow::block::SizeLimits;

/// How long a batch waits without a backlog.
const SHORT: Duration = Duration::from_millis(500);
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
        let backlog = lag >= missing as u64;
        if backlog { LONG } else { SHORT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Linger = Linger { limits: SizeLimits { rows_max: 500_000, bytes_max: 1 } };

    #[test]
    fn a_batch_lingers_longer_when_the_backlog_can_fill_it() {
        assert_eq!(LINGER.wait(1, 0), SHORT);
        assert_eq!(LINGER.wait(100_000, 399_999), SHORT, "the rest would not fill it");
        assert_eq!(LINGER.wait(100_000, 400_000), LONG);
    }
}
