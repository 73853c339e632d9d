//! The rate limiter of client prefixes: a table of token buckets with a fixed size.
//!
//! The caller passes the time. The seed of the hash is random, so that a client cannot choose whose
//! bucket it shares. A bucket belongs to the prefix that used it last, so the table never grows. A prefix
//! that loses its bucket to another one starts again with a full bucket: the limiter may then admit more
//! requests than the limit, but never fewer.
#![expect(clippy::disallowed_methods, reason = "the seed of the hash is random")]

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;

use crate::click::ClientIp;
use service::lock::lock;

const BUCKETS: usize = 1 << 16;
const MINUTE_US: i64 = 60_000_000;

/// Admits a number of requests per minute of each client prefix, and as many at once.
#[derive(Debug)]
pub struct RateLimiter {
    /// Microseconds between two admitted requests at an even rate.
    interval: i64,
    seed: RandomState,
    buckets: Mutex<Box<[Bucket]>>,
}

/// The bucket of one client prefix.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    owner: u64,
    /// When this bucket is full again, microseconds since 1970.
    full_at: i64,
}

impl RateLimiter {
    /// A limiter of `per_minute` requests per minute, at least one.
    pub fn new(per_minute: u32) -> Self {
        let buckets = vec![Bucket::default(); BUCKETS].into_boxed_slice();
        let interval = MINUTE_US / i64::from(per_minute.max(1));
        Self { interval, seed: RandomState::new(), buckets: Mutex::new(buckets) }
    }

    /// Whether a client is admitted at `now`, microseconds since 1970. A refused request does not empty its
    /// bucket further.
    pub fn admit(&self, client: &ClientIp, now: i64) -> bool {
        let owner = self.seed.hash_one(client.prefix());
        let mut buckets = lock(&self.buckets);
        #[expect(clippy::expect_used, reason = "the remainder is below the table's length")]
        let bucket = usize::try_from(owner % BUCKETS as u64)
            .ok()
            .and_then(|index| buckets.get_mut(index))
            .expect("the table has a bucket for each remainder");
        if bucket.owner != owner {
            *bucket = Bucket { owner, full_at: now };
        }
        // If the clock was set back, a bucket is empty for at most a minute.
        let full_at = bucket.full_at.clamp(now, now + MINUTE_US);
        let admitted = full_at + self.interval <= now + MINUTE_US;
        bucket.full_at = if admitted { full_at + self.interval } else { full_at };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> ClientIp {
        ClientIp::new(text.parse().unwrap())
    }

    fn admitted(limiter: &RateLimiter, client: &ClientIp, tries: u32, now: i64) -> u32 {
        (0..tries).map(|_| u32::from(limiter.admit(client, now))).sum()
    }

    #[test]
    fn a_client_may_use_its_minute_at_once_and_then_at_the_refill_rate() {
        let (limiter, client, now) = (RateLimiter::new(60), ip("203.0.113.7"), 1 << 50);
        assert_eq!(admitted(&limiter, &client, 100, now), 60);
        assert_eq!(admitted(&limiter, &client, 100, now + 999_999), 0);
        assert_eq!(admitted(&limiter, &client, 100, now + 1_000_000), 1);
        assert_eq!(admitted(&limiter, &client, 100, now + 11_000_000), 10);
        assert_eq!(admitted(&limiter, &client, 100, now + MINUTE_US * 60), 60);
    }

    #[test]
    fn client_prefixes_have_separate_buckets_and_addresses_of_one_share_it() {
        let (limiter, now) = (RateLimiter::new(5), 1 << 50);
        assert_eq!(admitted(&limiter, &ip("203.0.113.7"), 9, now), 5);
        assert_eq!(admitted(&limiter, &ip("203.0.113.8"), 9, now), 5);
        assert_eq!(admitted(&limiter, &ip("2001:db8::1"), 3, now), 3);
        assert_eq!(admitted(&limiter, &ip("2001:db8::2"), 9, now), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_refuses_no_client_for_longer_than_a_minute() {
        let (limiter, client, now) = (RateLimiter::new(5), ip("203.0.113.7"), 1 << 50);
        assert_eq!(admitted(&limiter, &client, 9, now), 5);
        let back = now - MINUTE_US * 600;
        assert_eq!(admitted(&limiter, &client, 9, back), 0);
        assert_eq!(admitted(&limiter, &client, 9, back + MINUTE_US), 5);
    }

    #[test]
    fn any_number_of_clients_takes_no_more_memory_and_is_admitted() {
        let (limiter, now) = (RateLimiter::new(1), 1 << 50);
        for number in 0..200_000_u32 {
            let client = ClientIp::new(std::net::Ipv4Addr::from(number).into());
            assert!(limiter.admit(&client, now));
        }
    }
}
