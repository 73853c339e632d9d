//! The throttle: limits the relay while CPU pressure is high.
//!
//! Pure. When threads wait for a core, the relay slows answers down. The throttle then limits the relay
//! to a constant rate, and the outbox holds the other clicks, while clicks arrive faster than that rate
//! and the outbox has room.

use std::time::Duration;

/// Time between two samples.
pub const TICK: Duration = Duration::from_millis(100);
/// Most clicks of one tick while throttled, which is 10,000 per second; a lower rate is never throttled.
const THROTTLED_CLICKS: u64 = 1_000;

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
    clicks_left: Option<u64>,
}

impl Throttle {
    /// A throttle that starts when `redirects` visitors have been redirected.
    pub fn since(redirects: u64) -> Self {
        Self { redirects, clicks_left: None }
    }

    /// Starts the next tick.
    pub fn sample(&mut self, sample: ThrottleSample) {
        let came = sample.redirects.saturating_sub(self.redirects);
        self.redirects = sample.redirects;
        let throttles = came > THROTTLED_CLICKS && sample.cpu_pressure && sample.outbox_has_room;
        self.clicks_left = throttles.then_some(THROTTLED_CLICKS);
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
    fn a_relay_is_throttled_under_cpu_pressure_if_many_clicks_come_and_there_is_room() {
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
            for tick in 1..=9 {
                throttle.sample(ThrottleSample {
                    redirects: 100 + tick * came,
                    cpu_pressure,
                    outbox_has_room,
                });
                assert_eq!(throttle.is_throttled(), expected == THROTTLED_CLICKS);
                assert_eq!(
                    sent_in_a_tick(&mut throttle),
                    expected,
                    "{tick} {came} {cpu_pressure} {outbox_has_room}"
                );
            }
            // No more clicks come: waiting clicks are delivered at once.
            throttle.sample(ThrottleSample {
                redirects: 100 + 9 * came,
                cpu_pressure,
                outbox_has_room,
            });
            assert_eq!(sent_in_a_tick(&mut throttle), 5_000);
        }
    }
}
