//! How many records a redrive may send in a second. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Time that a redrive may catch up after it was slower than its rate.
const BURST: Duration = Duration::from_secs(1);
/// Seconds that the copies of a batch take at most.
const BATCH_SECONDS: u32 = 10;
/// Parts of a batch that are sent in a second, where the rate allows several records a second.
const PARTS_A_SECOND: u32 = 2;

/// A limit that may change at any time.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: Option<u32>,
    /// When the next record may be sent.
    next: Option<Instant>,
}

impl RateLimit {
    /// A limit of records a second; without one everything may be sent.
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self { per_second: per_second.map(|rate| rate.max(1)), next: None }
    }

    /// Changes the limit.
    pub(crate) fn set(&mut self, per_second: u32) {
        self.per_second = Some(per_second.max(1));
    }

    /// The largest batch, at most `max` records: it takes ten seconds or less.
    pub(crate) fn batch_max(&self, max: usize) -> usize {
        self.per_second.map_or(max, |rate| max.min(rate.saturating_mul(BATCH_SECONDS) as usize))
    }

    /// The largest part of a batch that is sent at once, at most `max` records.
    pub(crate) fn part_max(&self, max: usize) -> usize {
        self.per_second.map_or(max, |rate| max.min((rate / PARTS_A_SECOND).max(1) as usize))
    }

    /// How long the next records have to wait.
    pub(crate) fn delay(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// Takes records that are sent from now on.
    pub(crate) fn take(&mut self, records: usize, now: Instant) {
        let Some(rate) = self.per_second else { return };
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = self.next.unwrap_or(now).max(earliest);
        self.next = Some(from + Duration::from_secs(1) * records / rate);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at the time of its runtime")]
mod tests {
    use super::*;

    /// Records sent within a time, in parts that take some time themselves.
    fn sent(limit: &mut RateLimit, now: &mut Instant, within: Duration, part: Duration) -> usize {
        let (end, mut sent) = (*now + within, 0);
        while *now < end {
            *now += limit.delay(*now);
            let records = limit.part_max(100);
            limit.take(records, *now);
            sent += records;
            *now += part;
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_for_any_part_and_changes_within_a_second() {
        let (mut now, ten) = (Instant::now(), Duration::from_secs(10));
        for (rate, took, expected) in
            [(1, 0, 10), (50, 300, 500), (250, 0, 2500), (1000, 60, 10_000), (1000, 200, 5000)]
        {
            let mut limit = RateLimit::new(Some(rate));
            let count = sent(&mut limit, &mut now, ten, Duration::from_millis(took));
            let more = rate as usize + 100;
            assert!((expected..=expected + more).contains(&count), "{rate} {took}: {count}");
            limit.set(20);
            sent(&mut limit, &mut now, Duration::from_secs(1), Duration::ZERO);
            let count = sent(&mut limit, &mut now, ten, Duration::ZERO);
            assert!((180..=220).contains(&count), "{rate}: {count}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits_and_a_pause_earns_one_second_at_most() {
        let now = Instant::now();
        let mut limit = RateLimit::new(None);
        limit.take(1_000_000, now);
        assert_eq!((limit.delay(now), limit.batch_max(100)), (Duration::ZERO, 100));
        let mut limit = RateLimit::new(Some(10));
        limit.take(10, now);
        let later = now + Duration::from_secs(600);
        limit.take(10, later);
        limit.take(10, later);
        assert_eq!(limit.delay(later), Duration::from_secs(1));
        assert_eq!((limit.batch_max(500), limit.part_max(500)), (100, 5));
        limit.set(1);
        assert_eq!((limit.batch_max(500), limit.part_max(500)), (10, 1));
        limit.set(u32::MAX);
        assert_eq!((limit.batch_max(500), limit.part_max(500)), (500, 500));
    }
}
