//! The random keys of the days, by which visitors are told apart.
//!
//! A store keeps them, a ring holds those in memory that a redirect may need: it is filled beside
//! the requests, and asking it never waits. Whoever may wait can have the key of any day.

pub mod folder;
pub mod shared;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::client::visitor_id::{self, Day, DayKey, Keyed};
use crate::clock::now;
use crate::metrics::Metrics;
use service::number::gauge;

/// Between two looks at the store: so long after a key was forgotten it may still be used.
const LOOK: Duration = Duration::from_secs(60);
/// Most keys in memory; the days of an import beyond it are read again.
const KEYS_MAX: usize = 64;

/// Where keys are kept. It may wait.
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// The key of a day; made where there is none, by whoever comes first.
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
    fn key(&self, day: Day) -> Option<Keyed>;
}

/// Keys in memory, and the store behind them.
#[derive(Debug)]
pub struct KeyRing {
    store: Box<dyn KeyStore>,
    keys: ArcSwap<BTreeMap<Day, Keyed>>,
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
        let found: Vec<_> = days.iter().filter_map(|day| Some((*day, self.ask(*day)?))).collect();
        self.change(|keys| {
            keys.retain(|day, _| days.contains(day));
            keys.extend(found.iter().cloned());
        });
        let known = days.into_iter().filter(|day| self.key(*day).is_some()).count();
        self.metrics.visitor_keys.set(gauge(known));
    }

    /// The key of any day. Waits for the store when it is not in memory.
    pub fn fetch(&self, day: Day) -> Option<Keyed> {
        if let Some(key) = self.key(day) {
            return Some(key);
        }
        let key = self.ask(day)?;
        let today = today();
        self.change(|keys| {
            if keys.len() >= KEYS_MAX {
                keys.retain(|held, _| *held >= today);
            }
            keys.insert(day, key.clone());
        });
        Some(key)
    }

    /// Puts a changed copy in the place of the keys: who reads them never waits.
    fn change(&self, change: impl Fn(&mut BTreeMap<Day, Keyed>)) {
        self.keys.rcu(|keys| {
            let mut keys = BTreeMap::clone(keys);
            change(&mut keys);
            keys
        });
    }

    /// Looks at the store again and again; aborted at the end.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let ring = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || ring.refresh()).await.is_err() {
                return;
            }
        }
    }

    fn ask(&self, day: Day) -> Option<Keyed> {
        match self.store.day_key(day) {
            Ok(key) => Some(key.into()),
            Err(error) => {
                self.metrics.visitor_key_failures.inc();
                tracing::error!(code = "visitor_key", day, %error, "clicks have no visitor id");
                None
            }
        }
    }
}

impl DayKeys for KeyRing {
    fn key(&self, day: Day) -> Option<Keyed> {
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

    /// Keys that say their day and how often it was asked for; or nothing.
    #[derive(Debug, Default)]
    struct Script {
        down: Arc<Mutex<bool>>,
        asked: Mutex<u8>,
    }

    impl KeyStore for Script {
        fn day_key(&self, day: Day) -> io::Result<DayKey> {
            if *self.down.lock().unwrap() {
                return Err(io::Error::other("down"));
            }
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            let mut key = [*asked; 32];
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

    /// What a key makes of one visitor, by which keys can be told apart.
    fn told(key: &Keyed) -> [u8; 8] {
        let click = schemas::RawClick::new(uuid::Uuid::from_u128(7), 0, "a");
        let click = schemas::RawClick { user_agent: Some("M"), ..click };
        let ip = crate::click::ClientIp::new([203, 0, 113, 7].into());
        visitor_id::id(key, Some(&ip), &click).unwrap()
    }

    fn of_day(day: u8, asked: u8) -> [u8; 8] {
        let mut key = [asked; 32];
        key[0] = day;
        told(&key.into())
    }

    #[test]
    fn todays_key_and_tomorrows_are_in_memory_and_asking_never_asks_the_store() {
        let store = Script::default();
        let down = Arc::clone(&store.down);
        let ring = KeyRing::new(Box::new(store), Metrics::default());
        let key = |day| ring.key(day).as_ref().map(told);
        assert_eq!(key(7), None);
        ring.refresh_on(7);
        let tomorrow = of_day(8, 2);
        assert_eq!((key(6), key(7), key(8)), (None, Some(of_day(7, 1)), Some(tomorrow)));
        // Midnight passes while the store is away: what is in memory goes on.
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
            assert_eq!(told(&key), of_day(day, day + 1));
            assert_eq!(ring.key(day.into()).as_ref().map(told), Some(told(&key)));
            assert!(ring.keys.load().len() <= KEYS_MAX);
        }
    }
}
