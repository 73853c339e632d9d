//! The throttle: limits the relay while CPU pressure is high.
//!
//! Pure. When threads wait for a core, the relay slows answers down. The throttle then limits the relay
//! to a constant rate, and the outbox holds the other clicks, while clicks arrive faster than that rate
//! and the outbox has room. In the first seconds of a burst the pressure is not known yet; the throttle
//! then assumes that it is high.

use std::time::Duration;

/// Time between two samples.
pub const TICK: Duration = Duration::from_millis(100);
/// Most clicks of one tick while throttled, which is 10,000 per second; a lower rate is never throttled.
const THROTTLED_CLICKS: u64 = 1_000;
/// Ticks of a burst after which the CPU pressure is known; Linux updates it every two seconds.
const BURST_TICKS: u32 = 40;

/// The inputs of one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleSample {
    /// Visitors redirected so far.
    pub redirects: u64,
    /// Whether the CPU pressure is high.
    pub cpu_pressure: bool,
    /// Whether half of the outbox is free.
    pub outbox_has_room: bool,
}

/// The throttle of one relay.
#[derive(Debug)]
pub struct Throttle {
    redirects: u64,
    /// Ticks with more clicks than the limit, minus ticks with fewer.
    burst_ticks: u32,
    clicks_left: Option<u64>,
}

impl Throttle {
    /// A throttle that starts when `redirects` visitors have been redirected.
    pub fn since(redirects: u64) -> Self {
        Self { redirects, burst_ticks: 0, clicks_left: None }
    }

    /// Starts the next tick.
    pub fn sample(&mut self, sample: ThrottleSample) {
        let came = sample.redirects.saturating_sub(self.redirects);
        self.redirects = sample.redirects;
        let many = came > THROTTLED_CLICKS;
        // After a pause the burst goes on: its CPU pressure is known already.
        self.burst_ticks = if many {
            (self.burst_ticks + 1).min(BURST_TICKS + 1)
        } else {
            self.burst_ticks.saturating_sub(1)
        };
        let cpu_pressure = sample.cpu_pressure || self.burst_ticks <= BURST_TICKS;
        self.clicks_left =
            (many && cpu_pressure && sample.outbox_has_room).then_some(THROTTLED_CLICKS);
    }

    /// Whether the relay is throttled.
    pub fn is_throttled(&self) -> bool {
        self.clicks_left.is_some()
    }

    /// Whether one more click may be sent in this tick.
    pub fn admits(&self) -> bool {
        self.clicks_left != Some(0)
    }

    /// Counts one click as sent.
    pub fn sent(&mut self) {
        self.clicks_left = self.clicks_left.map(|clicks| clicks.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 5,000 clicks are sent in one tick.
    fn sent_in_a_tick(throttle: &mut Throttle) -> u64 {
        let mut sent = 0;
        while sent < 5_000 && throttle.admits() {
            throttle.sent();
            sent += 1;
        }
        sent
    }

    #[test]
    fn a_relay_is_throttled_in_a_burst_under_cpu_pressure_if_the_outbox_has_room() {
        for (came, cpu_pressure, outbox_has_room, expected) in [
            (9_000, true, true, THROTTLED_CLICKS),
            (9_000, false, true, 5_000),
            (9_000, true, false, 5_000),
            (THROTTLED_CLICKS, true, true, 5_000),
        ] {
            let mut throttle = Throttle::since(100);
            assert_eq!(sent_in_a_tick(&mut throttle), 5_000, "before the first sample");
            throttle.sample(ThrottleSample {
                redirects: 100,
                cpu_pressure: false,
                outbox_has_room: true,
            });
            assert_eq!(
                sent_in_a_tick(&mut throttle),
                5_000,
                "those of an earlier relay are none of this one's"
            );
            for tick in 1..=99 {
                throttle.sample(ThrottleSample {
                    redirects: 100 + tick * came,
                    cpu_pressure,
                    outbox_has_room,
                });
                let in_burst =
                    tick <= u64::from(BURST_TICKS) && came > THROTTLED_CLICKS && outbox_has_room;
                let expected = if in_burst { THROTTLED_CLICKS } else { expected };
                assert_eq!(throttle.is_throttled(), expected == THROTTLED_CLICKS);
                assert_eq!(
                    sent_in_a_tick(&mut throttle),
                    expected,
                    "{tick} {came} {cpu_pressure} {outbox_has_room}"
                );
            }
            // The burst has ended: waiting clicks are delivered at once.
            throttle.sample(ThrottleSample {
                redirects: 100 + 99 * came,
                cpu_pressure,
                outbox_has_room,
            });
            assert_eq!(sent_in_a_tick(&mut throttle), 5_000);
        }
    }

    #[test]
    fn a_burst_that_pauses_is_not_a_new_one_and_one_after_a_long_pause_is() {
        let (mut throttle, mut redirects) = (Throttle::since(0), 0);
        let mut throttled_ticks = |ticks: usize, came: u64| {
            let samples = (0..ticks).filter(|_| {
                redirects += came;
                throttle.sample(ThrottleSample {
                    redirects,
                    cpu_pressure: false,
                    outbox_has_room: true,
                });
                throttle.is_throttled()
            });
            samples.count()
        };
        assert_eq!(throttled_ticks(100, 9_000), 40);
        for _ in 0..100 {
            assert_eq!((throttled_ticks(1, 0), throttled_ticks(39, 9_000)), (0, 0));
        }
        assert_eq!((throttled_ticks(100, 0), throttled_ticks(100, 9_000)), (0, 40));
    }
}
