//! Delays between attempts: exponential, with full jitter, without end.
#![expect(clippy::disallowed_methods, reason = "the jitter of a delay is random")]

use std::time::Duration;

/// Delays that grow from `base` to `max`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub base: Duration,
    /// Upper bound of every delay.
    pub max: Duration,
}

impl Backoff {
    /// For the processors, towards every server.
    pub const SERVERS: Self =
        Self { base: Duration::from_millis(100), max: Duration::from_secs(15) };

    /// For the producer, towards broker and registry: clicks wait on its disk meanwhile.
    pub const DELIVERY: Self =
        Self { base: Duration::from_millis(400), max: Duration::from_secs(5) };

    /// Delay before attempt `attempt` (0 is the first repetition): uniform in `1 ms..=bound`,
    /// where the bound doubles each time. `random` is a uniformly distributed number.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let bound = self.base.saturating_mul(1 << attempt.min(20)).min(self.max);
        #[expect(clippy::cast_possible_truncation, reason = "at most `max`, which is seconds")]
        let bound_ms = (bound.as_millis() as u64).max(1);
        Duration::from_millis(1 + random % bound_ms)
    }

    /// [`Backoff::delay`] with a random number of this thread ([`fastrand`], which simulations
    /// seed).
    pub fn random_delay(&self, attempt: u32) -> Duration {
        self.delay(attempt, fastrand::u64(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_is_never_zero_and_never_above_the_bound(attempt: u32, random: u64) {
            let delay = Backoff::SERVERS.delay(attempt, random);
            prop_assert!(delay >= Duration::from_millis(1));
            prop_assert!(delay <= Backoff::SERVERS.max);
            prop_assert!(Backoff::SERVERS.delay(0, random) <= Backoff::SERVERS.base);
        }
    }
}
