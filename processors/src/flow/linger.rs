//! When a batch is sent: soon when there is little to do, large when there is much.
//!
//! Pure: time and lag are arguments.

use std::time::Duration;

use crate::flow::block::Limits;

/// How long a record waits for company when little is behind it.
const LINGER: Duration = Duration::from_millis(500);
/// How long at most when a backlog is behind it: large inserts nearly halve the server's work.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a batch may hold, and how long it waits to be filled.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What a batch may hold.
    pub limits: Limits,
}

impl Pace {
    /// How long the first of `rows` records waits for company. The backlog must be able to fill
    /// the batch, or waiting for it is in vain.
    pub fn wait(self, rows: usize, lag: u64) -> Duration {
        let missing = self.limits.rows_max.saturating_sub(rows);
        let backlog = lag >= missing as u64;
        if backlog { PATIENCE } else { LINGER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { limits: Limits { rows_max: 500_000, bytes_max: 1 } };

    #[test]
    fn a_trickle_is_sent_soon_and_a_backlog_large() {
        assert_eq!(PACE.wait(1, 0), LINGER);
        assert_eq!(PACE.wait(100_000, 399_999), LINGER, "the rest would not fill it");
        assert_eq!(PACE.wait(100_000, 400_000), PATIENCE);
    }
}
