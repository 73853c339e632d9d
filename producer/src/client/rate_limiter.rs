//! How often one household may do something: a bounded table of buckets that refill.
//!
//! Pure: time is given. A place of the table holds the last household that fell on it, so the table
//! never grows; whoever is driven out of a place begins with a full bucket again, which errs on the
//! visitor's side.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;

use crate::click::ClientIp;
use service::lock::lock;

const PLACES: usize = 1 << 16;
const MINUTE_US: i64 = 60_000_000;

/// Lets each household do something so often a minute, and as often at once.
#[derive(Debug)]
pub struct Limiter {
    /// Between two of them, when they come evenly (microseconds).
    interval: i64,
    seed: RandomState,
    places: Mutex<Box<[Place]>>,
}

/// One household.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    owner: u64,
    /// When its bucket is full again (microseconds since 1970).
    full_at: i64,
}

impl Limiter {
    /// A limiter of so many a minute, at least one.
    pub fn new(per_minute: u32) -> Self {
        let places = vec![Place::default(); PLACES].into_boxed_slice();
        let interval = MINUTE_US / i64::from(per_minute.max(1));
        Self { interval, seed: RandomState::new(), places: Mutex::new(places) }
    }

    /// Whether a client may do it now (microseconds since 1970). Refused tries cost nothing.
    pub fn admit(&self, client: &ClientIp, now: i64) -> bool {
        let owner = self.seed.hash_one(client.household());
        let mut places = lock(&self.places);
        let at = usize::try_from(owner % PLACES as u64).unwrap_or(0);
        let Some(place) = places.get_mut(at) else { return true };
        if place.owner != owner {
            *place = Place { owner, full_at: now };
        }
        // A clock that was set back empties nobody's bucket for longer than a minute.
        let full_at = place.full_at.clamp(now, now + MINUTE_US);
        let admitted = full_at + self.interval <= now + MINUTE_US;
        place.full_at = if admitted { full_at + self.interval } else { full_at };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> ClientIp {
        ClientIp::new(text.parse().unwrap())
    }

    fn admitted(limiter: &Limiter, client: &ClientIp, tries: u32, now: i64) -> u32 {
        (0..tries).map(|_| u32::from(limiter.admit(client, now))).sum()
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_as_much_as_refills() {
        let (limiter, client, now) = (Limiter::new(60), ip("203.0.113.7"), 1 << 50);
        assert_eq!(admitted(&limiter, &client, 100, now), 60);
        assert_eq!(admitted(&limiter, &client, 100, now + 999_999), 0);
        assert_eq!(admitted(&limiter, &client, 100, now + 1_000_000), 1);
        assert_eq!(admitted(&limiter, &client, 100, now + 11_000_000), 10);
        assert_eq!(admitted(&limiter, &client, 100, now + MINUTE_US * 60), 60);
    }

    #[test]
    fn households_do_not_share_a_bucket_and_devices_of_one_do() {
        let (limiter, now) = (Limiter::new(5), 1 << 50);
        assert_eq!(admitted(&limiter, &ip("203.0.113.7"), 9, now), 5);
        assert_eq!(admitted(&limiter, &ip("203.0.113.8"), 9, now), 5);
        assert_eq!(admitted(&limiter, &ip("2001:db8::1"), 3, now), 3);
        assert_eq!(admitted(&limiter, &ip("2001:db8::2"), 9, now), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_minute() {
        let (limiter, client, now) = (Limiter::new(5), ip("203.0.113.7"), 1 << 50);
        assert_eq!(admitted(&limiter, &client, 9, now), 5);
        let back = now - MINUTE_US * 600;
        assert_eq!(admitted(&limiter, &client, 9, back), 0);
        assert_eq!(admitted(&limiter, &client, 9, back + MINUTE_US), 5);
    }

    #[test]
    fn strangers_without_end_take_no_more_memory_and_are_let_in() {
        let (limiter, now) = (Limiter::new(1), 1 << 50);
        for number in 0..200_000_u32 {
            let stranger = ClientIp::new(std::net::Ipv4Addr::from(number).into());
            assert!(limiter.admit(&stranger, now));
        }
    }
}
