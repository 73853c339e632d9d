//! A source that is read as the throttle allows: not at all while the replay pauses, and else at its rate.
//!
//! A pause is one of the partitions, as that of backpressure: the member polls without records, so that the
//! group does not remove it. A wait for the rate is shorter than two seconds.
#![expect(clippy::disallowed_methods, reason = "the rate limit is by the time of this process")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::ServerError;
use records::flow::block::{Block, SizeLimits};
use records::replay::replay_throttle::share;
use service::lock::lock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::redrive::rate_limit::RateLimit;
use crate::replay::throttle_state::{SharedThrottle, ThrottleState};
use crate::run::source::{Notice, Positions, Source};

/// A source with a throttle.
#[derive(Debug)]
pub(crate) struct ThrottledSource<S> {
    source: Arc<S>,
    throttle: watch::Receiver<ThrottleState>,
    rate: Mutex<RateLimit>,
    paused: Mutex<PausedBy>,
}

/// Who has paused the source. It is read when neither has.
#[derive(Debug, Default)]
struct PausedBy {
    driver: bool,
    throttle: bool,
}

impl<S: Source> ThrottledSource<S> {
    /// The source, read as `throttle` allows.
    pub(crate) fn new(source: S, throttle: &SharedThrottle) -> Self {
        Self {
            source: Arc::new(source),
            throttle: throttle.changes(),
            rate: Mutex::new(RateLimit::new(None)),
            paused: Mutex::default(),
        }
    }

    /// Pauses or resumes the partitions; pauses also those that were assigned during a pause.
    fn set_paused(&self, is_paused: bool) -> Result<(), ServerError> {
        let mut paused = lock(&self.paused);
        if is_paused {
            paused.throttle = true;
            return self.source.pause();
        }
        if paused.throttle && !paused.driver {
            self.source.resume()?;
        }
        paused.throttle = false;
        Ok(())
    }

    /// How long the next records have to wait, and how many may be read then.
    fn allowed(&self, state: &ThrottleState) -> (Duration, usize) {
        let mut limit = lock(&self.rate);
        let Some(rate) = state.limits.rate.0 else {
            *limit = RateLimit::new(None);
            return (Duration::ZERO, usize::MAX);
        };
        let own = self.source.lag().values().filter(|left| **left > 0).count();
        limit.set(share(rate, own, state.open_partitions));
        (limit.delay(Instant::now()), limit.part_max(usize::MAX))
    }
}

/// Waits for a change; without end when there will be none.
async fn changed(throttle: &mut watch::Receiver<ThrottleState>) {
    if throttle.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl<S: Source> Source for ThrottledSource<S> {
    async fn fill(&self, block: &mut Block, limits: SizeLimits) -> Result<(), ServerError> {
        let mut throttle = self.throttle.clone();
        let state = *throttle.borrow_and_update();
        self.set_paused(!state.may_read)?;
        let (delay, rows) = self.allowed(&state);
        let before = block.rows();
        let rows_max = limits.rows_max.min(before.saturating_add(rows));
        let reading = async {
            if state.may_read && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            self.source.fill(block, SizeLimits { rows_max, ..limits }).await
        };
        let filled = tokio::select! {
            filled = reading => filled,
            () = changed(&mut throttle) => Ok(()),
        };
        lock(&self.rate).take(block.rows() - before, Instant::now());
        filled
    }

    fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
        self.source.take_notices()
    }

    fn release(&self, partitions: &[i32]) -> Result<(), ServerError> {
        self.source.release(partitions)
    }

    async fn commit(self: Arc<Self>, positions: Positions) -> Result<(), ServerError> {
        Arc::clone(&self.source).commit(positions).await
    }

    async fn committed_positions(self: Arc<Self>) -> Result<Positions, ServerError> {
        Arc::clone(&self.source).committed_positions().await
    }

    async fn seek(self: Arc<Self>, partition: i32, position: i64) -> Result<(), ServerError> {
        Arc::clone(&self.source).seek(partition, position).await
    }

    async fn seek_into_log(self: Arc<Self>) -> Result<(), ServerError> {
        Arc::clone(&self.source).seek_into_log().await
    }

    fn pause(&self) -> Result<(), ServerError> {
        lock(&self.paused).driver = true;
        self.source.pause()
    }

    fn resume(&self) -> Result<(), ServerError> {
        let mut paused = lock(&self.paused);
        paused.driver = false;
        if paused.throttle { Ok(()) } else { self.source.resume() }
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        self.source.lag()
    }

    fn is_throttled(&self) -> bool {
        let state = self.throttle.borrow();
        !state.may_read || state.limits.rate.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use records::flow::block::RecordMetadata;
    use records::replay::replay_throttle::PauseCause;
    use records::replay::throttle_limits::{LimitChange, ThrottleLimit, ThrottleLimits};

    use super::*;

    const LIMITS: SizeLimits = SizeLimits { rows_max: 200, bytes_max: 1 << 20 };

    /// A log that always has more records, of two partitions.
    #[derive(Debug, Default)]
    struct EndlessLog {
        is_paused: Mutex<bool>,
    }

    impl Source for EndlessLog {
        async fn fill(&self, block: &mut Block, limits: SizeLimits) -> Result<(), ServerError> {
            if *lock(&self.is_paused) {
                std::future::pending::<()>().await;
            }
            let offset = i64::try_from(block.rows()).unwrap();
            for offset in offset.. {
                let metadata = RecordMetadata { partition: 0, offset, epoch: 1, logged_at_ms: 1 };
                block.push(metadata, None, None, std::iter::empty());
                if block.is_full(limits) {
                    break;
                }
            }
            Ok(())
        }

        fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
            Ok(Vec::new())
        }

        fn release(&self, _: &[i32]) -> Result<(), ServerError> {
            Ok(())
        }

        async fn commit(self: Arc<Self>, _: Positions) -> Result<(), ServerError> {
            Ok(())
        }

        async fn committed_positions(self: Arc<Self>) -> Result<Positions, ServerError> {
            Ok(Positions::new())
        }

        async fn seek(self: Arc<Self>, _: i32, _: i64) -> Result<(), ServerError> {
            Ok(())
        }

        async fn seek_into_log(self: Arc<Self>) -> Result<(), ServerError> {
            Ok(())
        }

        fn pause(&self) -> Result<(), ServerError> {
            *lock(&self.is_paused) = true;
            Ok(())
        }

        fn resume(&self) -> Result<(), ServerError> {
            *lock(&self.is_paused) = false;
            Ok(())
        }

        fn lag(&self) -> BTreeMap<i32, u64> {
            BTreeMap::from([(0, 7), (1, 7), (2, 0)])
        }
    }

    fn set(throttle: &SharedThrottle, limits: ThrottleLimits, cause: Option<PauseCause>) {
        let may_read = cause.is_none();
        throttle.set(ThrottleState { limits, may_read, cause, ..throttle.state() });
    }

    /// Rows that are read within a time.
    async fn read(source: &ThrottledSource<EndlessLog>, time: Duration) -> usize {
        let mut rows = 0;
        let reading = async {
            loop {
                let mut block = Block::default();
                source.fill(&mut block, LIMITS).await.unwrap();
                rows += block.rows();
                // The log is never the limit.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(time, reading).await.is_err());
        rows
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_reads_its_share_of_the_rate_and_nothing_in_a_pause() {
        // It reads two of the four partitions that are open.
        let throttle = SharedThrottle::new(4);
        let source = ThrottledSource::new(EndlessLog::default(), &throttle);
        let (ten, limits) = (Duration::from_secs(10), ThrottleLimits::default());
        assert_eq!(read(&source, ten).await, 0, "nothing is decided yet");
        assert!(source.is_throttled());
        set(&throttle, limits, None);
        assert!(read(&source, ten).await > 1_000_000);
        assert!(!source.is_throttled());
        let slow = limits.with(LimitChange::Rate(ThrottleLimit(Some(200))));
        set(&throttle, slow, None);
        let rows = read(&source, ten).await;
        assert!((900..=1_200).contains(&rows), "{rows}");
        throttle.set_open_partitions(2);
        let rows = read(&source, ten).await;
        assert!((1_900..=2_300).contains(&rows), "{rows}");
        set(&throttle, slow, Some(PauseCause::LiveLag));
        assert_eq!(read(&source, ten).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_ends_the_wait_of_a_read_and_both_pauses_have_to_end() {
        let throttle = SharedThrottle::new(2);
        let source = ThrottledSource::new(EndlessLog::default(), &throttle);
        let change = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            set(&throttle, ThrottleLimits::default(), None);
        };
        let began = Instant::now();
        let mut block = Block::default();
        let (filled, ()) = tokio::join!(source.fill(&mut block, LIMITS), change);
        assert_eq!((filled.is_ok(), block.rows()), (true, 0));
        assert_eq!(began.elapsed().as_secs(), 60);
        source.pause().unwrap();
        set(&throttle, ThrottleLimits::default(), Some(PauseCause::Operator));
        let second = Duration::from_secs(1);
        assert_eq!(read(&source, second).await, 0);
        source.resume().unwrap();
        assert_eq!(read(&source, second).await, 0, "the throttle still pauses");
        source.pause().unwrap();
        set(&throttle, ThrottleLimits::default(), None);
        assert_eq!(read(&source, second).await, 0, "the driver still pauses");
        source.resume().unwrap();
        assert!(read(&source, second).await > 0);
    }
}
