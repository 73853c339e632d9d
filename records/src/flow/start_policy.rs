//! The position from which an assigned partition is read. Explicit, so that no default of the client
//! library skips records. Pure.

/// A position to read from, and the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartPosition {
    /// First offset to read.
    pub position: i64,
    /// Why reading starts there.
    pub reason: StartReason,
}

/// Why reading starts at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartReason {
    /// The group has committed nothing: from the log's start.
    FirstRead,
    /// From the committed position.
    Resumed,
    /// The log's start has passed the committed position: retention deleted `lost` offsets before they
    /// were read.
    Expired {
        /// Offsets that can never be read.
        lost: i64,
    },
    /// The committed position is beyond the log's end: the topic was recreated.
    BeyondEnd,
    /// The log's bounds are not known, since the leader does not answer: from the committed position, or
    /// from the first offset of all.
    Unchecked,
    /// From the position to which another client reset the group while the partition was assigned.
    Reset,
}

impl StartPosition {
    /// The same position, with the reason of a reset by another client; a loss keeps its own reason.
    #[must_use]
    pub fn after_reset(self) -> Self {
        let reason = match self.reason {
            StartReason::Resumed
            | StartReason::FirstRead
            | StartReason::Unchecked
            | StartReason::Reset => StartReason::Reset,
            loss @ (StartReason::Expired { .. } | StartReason::BeyondEnd) => loss,
        };
        Self { reason, ..self }
    }

    /// Offsets that retention deleted before they were read.
    pub fn lost(self) -> i64 {
        match self.reason {
            StartReason::Expired { lost } => lost,
            StartReason::FirstRead
            | StartReason::Resumed
            | StartReason::BeyondEnd
            | StartReason::Unchecked
            | StartReason::Reset => 0,
        }
    }
}

/// Decides from the committed position and the log's bounds (`low` is the first offset, `high`
/// the position after the last).
pub fn start_position(committed: Option<i64>, low: i64, high: i64) -> StartPosition {
    match committed {
        None => StartPosition { position: low, reason: StartReason::FirstRead },
        Some(position) if position < low => {
            StartPosition { position: low, reason: StartReason::Expired { lost: low - position } }
        }
        Some(position) if position > high => {
            StartPosition { position: low, reason: StartReason::BeyondEnd }
        }
        Some(position) => StartPosition { position, reason: StartReason::Resumed },
    }
}

/// Decides without the log's bounds. If the position is outside the log, the broker refuses to read from it,
/// and [`start_position`] decides then.
pub fn unchecked_start(committed: Option<i64>) -> StartPosition {
    StartPosition { position: committed.unwrap_or(0), reason: StartReason::Unchecked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_committed_position_has_its_start() {
        for (committed, low, high, position, reason) in [
            (None, 0, 0, 0, StartReason::FirstRead),
            (None, 7, 9, 7, StartReason::FirstRead),
            (Some(0), 0, 0, 0, StartReason::Resumed),
            (Some(8), 7, 9, 8, StartReason::Resumed),
            (Some(9), 7, 9, 9, StartReason::Resumed),
            (Some(3), 7, 9, 7, StartReason::Expired { lost: 4 }),
            (Some(500), 0, 10, 0, StartReason::BeyondEnd),
        ] {
            assert_eq!(start_position(committed, low, high), StartPosition { position, reason });
        }
    }
}
