//! Where reading starts when a partition is assigned. Explicit, so that nothing is skipped
//! or lost by a default of the client library.

/// A starting position and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// First offset to read.
    pub position: i64,
    /// Why there.
    pub reason: Reason,
}

/// Why reading starts where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The group has committed nothing: from the log's start.
    FirstRead,
    /// From the committed position.
    Resumed,
    /// The log's start has passed the committed position: so many offsets are lost to retention.
    Expired {
        /// Offsets that can never be read.
        lost: i64,
    },
    /// The committed position is beyond the log's end: the topic was made anew.
    BeyondEnd,
    /// From where somebody moved the committed position to, under a live assignment.
    Moved,
}

impl Start {
    /// Offsets that retention took before they were read.
    pub fn lost(self) -> i64 {
        match self.reason {
            Reason::Expired { lost } => lost,
            Reason::FirstRead | Reason::Resumed | Reason::BeyondEnd | Reason::Moved => 0,
        }
    }
}

/// Decides from the committed position and the log's bounds (`low` is the first offset, `high`
/// the position after the last).
pub fn start(committed: Option<i64>, low: i64, high: i64) -> Start {
    match committed {
        None => Start { position: low, reason: Reason::FirstRead },
        Some(position) if position < low => {
            Start { position: low, reason: Reason::Expired { lost: low - position } }
        }
        Some(position) if position > high => Start { position: low, reason: Reason::BeyondEnd },
        Some(position) => Start { position, reason: Reason::Resumed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_its_start() {
        for (committed, low, high, position, reason) in [
            (None, 0, 0, 0, Reason::FirstRead),
            (None, 7, 9, 7, Reason::FirstRead),
            (Some(0), 0, 0, 0, Reason::Resumed),
            (Some(8), 7, 9, 8, Reason::Resumed),
            (Some(9), 7, 9, 9, Reason::Resumed),
            (Some(3), 7, 9, 7, Reason::Expired { lost: 4 }),
            (Some(500), 0, 10, 0, Reason::BeyondEnd),
        ] {
            assert_eq!(start(committed, low, high), Start { position, reason });
        }
    }
}
