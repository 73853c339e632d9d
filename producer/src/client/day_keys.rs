//! The random keys of the days, by which visitors are distinguished.
//!
//! A store keeps them, and a ring holds in memory those that a redirect may need: another task
//! fills it, and reading it never waits. A caller that may wait can get the key of any day.

pub mod folder;
pub mod shared;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::client::visitor_id::{self, Day, DayKey, VisitorKey};
use crate::clock::now;
use crate::metrics::Metrics;
use service::number::gauge;

/// Between two reads of the store: so long after a key was deleted it may still be used.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Most keys in memory; the days of an import beyond it are read again.
const KEYS_MAX: usize = 64;

/// Stores keys. It may wait.
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// The key of a day; the first process that needs it makes it.
    ///
    /// # Errors
    /// The store's.
    fn day_key(&self, day: Day) -> io::Result<DayKey>;

    /// Deletes the key of a day; false if there was none.
    ///
    /// # Errors
    /// The store's.
    fn forget_day(&self, day: Day) -> io::Result<bool>;

    /// The days that have a key, in order.
    ///
    /// # Errors
    /// The store's.
    fn days(&self) -> io::Result<Vec<Day>>;
}

/// Keys in memory.
pub trait DayKeys: Debug + Send + Sync {
    /// The key of a day if it is in memory: that of today and of tomorrow, as a rule. Never waits.
    fn key(&self, day: Day) -> Option<VisitorKey>;
}

/// Keys in memory, and the store behind them.
#[derive(Debug)]
pub struct KeyRing {
    store: Box<dyn KeyStore>,
    keys: ArcSwap<BTreeMap<Day, VisitorKey>>,
    metrics: Metrics,
}

impl KeyRing {
    /// A ring without a key.
    pub fn new(store: Box<dyn KeyStore>, metrics: Metrics) -> Self {
        Self { store, keys: ArcSwap::default(), metrics }
    }

    /// Takes today's key and tomorrow's from the store, and leaves those of other days. Waits.
    /// A key that the store does not give stays as it is in memory.
    pub fn refresh(&self) {
        self.refresh_on(today());
    }

    fn refresh_on(&self, today: Day) {
        let days = [today, today + 1];
        let found: Vec<_> =
            days.iter().filter_map(|day| Some((*day, self.read_key(*day)?))).collect();
        self.change(|keys| {
            keys.retain(|day, _| days.contains(day));
            keys.extend(found.iter().cloned());
        });
        let known = days.into_iter().filter(|day| self.key(*day).is_some()).count();
        self.metrics.visitor_keys.set(gauge(known));
    }

    /// The key of any day. Waits for the store when it is not in memory.
    pub fn fetch(&self, day: Day) -> Option<VisitorKey> {
        if let Some(key) = self.key(day) {
            return Some(key);
        }
        let key = self.read_key(day)?;
        let today = today();
        self.change(|keys| {
            if keys.len() >= KEYS_MAX {
                keys.retain(|held, _| *held >= today);
            }
            keys.insert(day, key.clone());
        });
        Some(key)
    }

    /// Replaces the keys by a changed copy: readers never wait.
    fn change(&self, change: impl Fn(&mut BTreeMap<Day, VisitorKey>)) {
        self.keys.rcu(|keys| {
            let mut keys = BTreeMap::clone(keys);
            change(&mut keys);
            keys
        });
    }

    /// Reads the store periodically; the caller aborts it at the end.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            let ring = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || ring.refresh()).await.is_err() {
                return;
            }
        }
    }

    fn read_key(&self, day: Day) -> Option<VisitorKey> {
        match self.store.day_key(day) {
            Ok(key) => Some(key.into()),
            Err(error) => {
                self.metrics.visitor_key_failures.inc();
                tracing::error!(
                    code = "visitor_key", day, %error,
                    "cannot read the day key, so clicks have no visitor id"
                );
                None
            }
        }
    }
}

impl DayKeys for KeyRing {
    fn key(&self, day: Day) -> Option<VisitorKey> {
        self.keys.load().get(&day).cloned()
    }
}

/// The UTC day that it is.
pub fn today() -> Day {
    visitor_id::day(now())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keys that hold their day and the number of reads; or errors.
    #[derive(Debug, Default)]
    struct Script {
        down: Arc<Mutex<bool>>,
        reads: Mutex<u8>,
    }

    impl KeyStore for Script {
        fn day_key(&self, day: Day) -> io::Result<DayKey> {
            if *self.down.lock().unwrap() {
                return Err(io::Error::other("down"));
            }
            let mut reads = self.reads.lock().unwrap();
            *reads += 1;
            let mut key = [*reads; 32];
            key[0] = u8::try_from(day).unwrap();
            Ok(key)
        }

        fn forget_day(&self, _: Day) -> io::Result<bool> {
            Ok(false)
        }

        fn days(&self) -> io::Result<Vec<Day>> {
            Ok(Vec::new())
        }
    }

    /// The id that a key makes for one visitor, which distinguishes keys.
    fn visitor_id_by(key: &VisitorKey) -> [u8; 8] {
        let click = schemas::RawClick::new(uuid::Uuid::from_u128(7), 0, "a");
        let click = schemas::RawClick { user_agent: Some("M"), ..click };
        let ip = crate::click::ClientIp::new([203, 0, 113, 7].into());
        visitor_id::id(key, Some(&ip), &click).unwrap()
    }

    fn of_day(day: u8, reads: u8) -> [u8; 8] {
        let mut key = [reads; 32];
        key[0] = day;
        visitor_id_by(&key.into())
    }

    #[test]
    fn the_keys_of_today_and_tomorrow_are_in_memory_and_reading_uses_no_store() {
        let store = Script::default();
        let down = Arc::clone(&store.down);
        let ring = KeyRing::new(Box::new(store), Metrics::default());
        let key = |day| ring.key(day).as_ref().map(visitor_id_by);
        assert_eq!(key(7), None);
        ring.refresh_on(7);
        let tomorrow = of_day(8, 2);
        assert_eq!((key(6), key(7), key(8)), (None, Some(of_day(7, 1)), Some(tomorrow)));
        // Midnight passes while the store does not answer: the keys in memory stay.
        *down.lock().unwrap() = true;
        ring.refresh_on(8);
        assert_eq!((key(7), key(8), key(9)), (None, Some(tomorrow), None));
        assert_eq!(ring.metrics.visitor_key_failures.get(), 2);
        assert!(ring.fetch(3).is_none());
    }

    #[test]
    fn any_day_can_be_fetched_and_memory_stays_bounded() {
        let ring = KeyRing::new(Box::new(Script::default()), Metrics::default());
        for day in 0..200 {
            let key = ring.fetch(day.into()).unwrap();
            assert_eq!(visitor_id_by(&key), of_day(day, day + 1));
            assert_eq!(ring.key(day.into()).as_ref().map(visitor_id_by), Some(visitor_id_by(&key)));
            assert!(ring.keys.load().len() <= KEYS_MAX);
        }
    }
}
