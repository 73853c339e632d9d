//! Counts the errors of a consumer about unreadable batches: after some of them the batch is searched
//! for.

use broker::UNREADABLE_TRIES;

/// How many there were since the last search.
#[derive(Debug, Default)]
pub(super) struct UnreadableErrors(u32);

impl UnreadableErrors {
    /// Counts one; `true` when it is time to search for the batch.
    pub(super) fn add(&mut self) -> bool {
        self.0 += 1;
        if self.0 < UNREADABLE_TRIES {
            return false;
        }
        self.0 = 0;
        true
    }
}
