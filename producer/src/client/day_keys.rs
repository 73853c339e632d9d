//! The random keys of the days, with which visitor ids are computed.
//!
//! A store keeps the keys for some days. A ring holds them in memory, where a read never waits; a thread
//! refreshes the ring from the store (`key_refresher`). No request uses the store.

pub mod folder;
pub mod key_refresher;
pub mod key_window;
pub mod refresh_schedule;
pub mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::client::day_keys::key_window::KeyWindow;
use crate::client::visitor_id::{self, Day, DayKey, VisitorKey};
use crate::clock::{now, now_ms};
use crate::metrics::Metrics;
use service::number::gauge;

/// Most days for which a host can keep a key.
pub const DAYS_MAX: u16 = 400;
/// Milliseconds without a refresh after which the health probe reports a problem.
const UNREFRESHED_MS_MAX: u64 = 300_000;

/// A store of day keys. Its calls may wait.
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Reads the keys of a window at once. Creates those of today and tomorrow, unless another process has
    /// created them. Deletes none.
    ///
    /// # Errors
    /// An error of the store.
    fn window_keys(&self, window: KeyWindow) -> io::Result<FoundKeys>;

    /// Deletes the keys of days before the window, and partial files that a crash left; fewer if the clock
    /// of this process may be ahead. Returns how many keys it deleted.
    ///
    /// # Errors
    /// An error of the store.
    fn forget_before(&self, window: KeyWindow) -> io::Result<u64>;

    /// Deletes the key of a day, and partial files that a crash left; false if there was neither.
    ///
    /// # Errors
    /// An error of the store.
    fn forget_day(&self, day: Day) -> io::Result<bool>;

    /// The days that have a key, in order.
    ///
    /// # Errors
    /// An error of the store.
    fn days(&self) -> io::Result<Vec<Day>>;
}

/// The keys that a store has found.
#[derive(Debug, Default)]
pub struct FoundKeys {
    /// The keys of the window.
    pub keys: BTreeMap<Day, DayKey>,
    /// Why keys of single days cannot be used.
    pub faults: BTreeMap<Day, io::Error>,
}

/// Day keys in memory.
pub trait DayKeys: Debug + Send + Sync {
    /// The key of a day, if it is in memory. Never waits.
    fn key(&self, day: Day) -> Option<VisitorKey>;
}

/// The keys of a window in memory.
#[derive(Debug)]
pub struct KeyRing {
    days: u16,
    keys: ArcSwap<BTreeMap<Day, VisitorKey>>,
    /// Time of the last complete read, milliseconds since 1970.
    refreshed_ms: AtomicU64,
    metrics: Metrics,
}

impl KeyRing {
    /// A ring without keys, which keeps those of `days` days.
    pub fn new(days: u16, metrics: Metrics) -> Self {
        let refreshed_ms = AtomicU64::new(now_ms());
        Self { days, keys: ArcSwap::default(), refreshed_ms, metrics }
    }

    /// The window that ends today.
    pub fn window(&self) -> KeyWindow {
        KeyWindow::new(today(), self.days)
    }

    /// Reads the keys of the window from a store, and drops those of other days from memory. Waits. If a
    /// key cannot be read, memory keeps the one that it has. Returns the days whose keys cannot be read;
    /// `None` if the store did not answer.
    pub fn refresh(&self, store: &dyn KeyStore) -> Option<BTreeSet<Day>> {
        self.refresh_window(self.window(), store)
    }

    /// As [`KeyRing::refresh`], and deletes the keys of earlier days from the store. Only hosts that
    /// redirect visitors delete keys.
    pub fn refresh_and_forget(&self, store: &dyn KeyStore) -> bool {
        self.refresh_and_forget_window(self.window(), store)
    }

    fn refresh_window(&self, window: KeyWindow, store: &dyn KeyStore) -> Option<BTreeSet<Day>> {
        let faulty = self.read(window, store);
        self.note_refreshed(faulty.as_ref().is_some_and(BTreeSet::is_empty));
        faulty
    }

    fn refresh_and_forget_window(&self, window: KeyWindow, store: &dyn KeyStore) -> bool {
        let is_read = self.read(window, store).is_some_and(|faulty| faulty.is_empty());
        let is_forgotten = self.forget(window, store);
        self.note_refreshed(is_read && is_forgotten)
    }

    fn note_refreshed(&self, is_complete: bool) -> bool {
        if is_complete {
            self.refreshed_ms.store(now_ms(), Ordering::Relaxed);
        }
        is_complete
    }

    fn read(&self, window: KeyWindow, store: &dyn KeyStore) -> Option<BTreeSet<Day>> {
        let faulty = match store.window_keys(window) {
            Ok(FoundKeys { keys, faults }) => {
                faults.iter().for_each(|(day, error)| self.report(Some(*day), error));
                self.change(|held| {
                    held.retain(|day, _| window.contains(*day) && faults.contains_key(day));
                    held.extend(keys.iter().map(|(day, key)| (*day, VisitorKey::from(*key))));
                });
                Some(faults.into_keys().collect())
            }
            Err(error) => {
                self.report(None, &error);
                self.change(|held| held.retain(|day, _| window.contains(*day)));
                None
            }
        };
        let known = window.made().into_iter().filter(|day| self.key(*day).is_some()).count();
        self.metrics.visitor_keys.set(gauge(known));
        faulty
    }

    fn forget(&self, window: KeyWindow, store: &dyn KeyStore) -> bool {
        match store.forget_before(window) {
            Ok(forgotten) => {
                self.metrics.visitor_keys_forgotten.inc_by(forgotten);
                if forgotten > 0 {
                    tracing::info!(forgotten, "deleted day keys because of their age");
                }
                true
            }
            Err(error) => {
                self.metrics.visitor_key_failures.inc();
                tracing::error!(code = "visitor_key", %error, "cannot delete old day keys");
                false
            }
        }
    }

    /// Replaces the keys by a changed copy, so that readers never wait.
    fn change(&self, change: impl Fn(&mut BTreeMap<Day, VisitorKey>)) {
        self.keys.rcu(|keys| {
            let mut keys = BTreeMap::clone(keys);
            change(&mut keys);
            keys
        });
    }

    /// The problem if the keys were not refreshed for five minutes: the store fails or hangs.
    pub fn problem(&self) -> Option<String> {
        self.problem_after(now_ms().saturating_sub(self.refreshed_ms.load(Ordering::Relaxed)))
    }

    fn problem_after(&self, unrefreshed_ms: u64) -> Option<String> {
        (unrefreshed_ms >= UNREFRESHED_MS_MAX).then(|| {
            let (seconds, keys) = (unrefreshed_ms / 1_000, self.keys.load().len());
            format!("visitor_key: the day keys were not read for {seconds} s, and {keys} of them are in memory")
        })
    }

    fn report(&self, day: Option<Day>, error: &io::Error) {
        self.metrics.visitor_key_failures.inc();
        tracing::error!(
            code = "visitor_key", day, %error,
            "cannot read a day key: clicks of its day have no visitor id unless the key is in memory"
        );
    }
}

impl DayKeys for KeyRing {
    fn key(&self, day: Day) -> Option<VisitorKey> {
        self.keys.load().get(&day).cloned()
    }
}

/// The current UTC day.
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
        down: Mutex<bool>,
        reads: Mutex<u8>,
        faulty: Option<Day>,
        forgotten: Mutex<Vec<Day>>,
        /// Whether keys cannot be deleted.
        keeps: bool,
    }

    impl KeyStore for Script {
        fn window_keys(&self, window: KeyWindow) -> io::Result<FoundKeys> {
            let mut reads = self.reads.lock().unwrap();
            *reads += 1;
            if *self.down.lock().unwrap() {
                return Err(io::Error::other("down"));
            }
            let mut found = FoundKeys::default();
            for day in window.first()..=window.last() {
                if self.faulty == Some(day) {
                    found.faults.insert(day, io::Error::other("faulty"));
                } else if !self.forgotten.lock().unwrap().contains(&day) {
                    let mut key = [*reads; 32];
                    key[0] = u8::try_from(day).unwrap();
                    found.keys.insert(day, key);
                }
            }
            Ok(found)
        }

        fn forget_before(&self, _: KeyWindow) -> io::Result<u64> {
            if self.keeps { Err(io::Error::other("read-only")) } else { Ok(3) }
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

    /// Whether all keys of the window could be read.
    fn refresh(ring: &KeyRing, window: KeyWindow, store: &dyn KeyStore) -> bool {
        ring.refresh_window(window, store).is_some_and(|faulty| faulty.is_empty())
    }

    fn of_day(day: u8, reads: u8) -> [u8; 8] {
        let mut key = [reads; 32];
        key[0] = day;
        visitor_id_by(&key.into())
    }

    #[test]
    fn m5_the_keys_of_a_window_are_in_memory_after_one_read_and_reading_uses_no_store() {
        let (store, ring) = (Script::default(), KeyRing::new(2, Metrics::default()));
        let key = |day| ring.key(day).as_ref().map(visitor_id_by);
        assert_eq!(key(7), None);
        assert!(refresh(&ring, KeyWindow::new(7, 2), &store));
        let days = [5, 6, 7, 8, 9].map(key);
        assert_eq!(days, [None, Some(of_day(6, 1)), Some(of_day(7, 1)), Some(of_day(8, 1)), None]);
        // Whatever days requests ask for, the store has one read.
        (0..200).for_each(|day| assert_eq!(ring.key(day).is_some(), (6..=8).contains(&day)));
        assert_eq!(*store.reads.lock().unwrap(), 1);
        assert_eq!(ring.metrics.visitor_keys_forgotten.get(), 0, "a read deletes none");
        assert!(ring.refresh_and_forget_window(KeyWindow::new(7, 2), &store));
        assert_eq!(ring.metrics.visitor_keys_forgotten.get(), 3);
    }

    #[test]
    fn keys_that_cannot_be_deleted_are_reported_and_the_others_are_used() {
        let store = Script { keeps: true, ..Script::default() };
        let ring = KeyRing::new(2, Metrics::default());
        assert!(!ring.refresh_and_forget_window(KeyWindow::new(7, 2), &store));
        assert_eq!(ring.keys.load().len(), 3);
        assert_eq!(ring.metrics.visitor_key_failures.get(), 1);
    }

    #[test]
    fn m15_a_key_leaves_memory_once_forgotten_or_too_old_even_without_the_store() {
        let (store, ring) = (Script::default(), KeyRing::new(2, Metrics::default()));
        let held = || ring.keys.load().keys().copied().collect::<Vec<_>>();
        assert!(refresh(&ring, KeyWindow::new(7, 2), &store));
        assert_eq!(held(), [6, 7, 8]);
        // Midnight passes while the store does not answer: what is in memory stays until it is too old.
        *store.down.lock().unwrap() = true;
        assert!(!refresh(&ring, KeyWindow::new(8, 2), &store));
        assert_eq!(held(), [7, 8]);
        assert_eq!(ring.metrics.visitor_key_failures.get(), 1);
        assert_eq!(ring.metrics.visitor_keys.get(), 1);
        assert!(!refresh(&ring, KeyWindow::new(10, 2), &store));
        assert!(held().is_empty());
        *store.down.lock().unwrap() = false;
        assert!(refresh(&ring, KeyWindow::new(10, 2), &store));
        store.forgotten.lock().unwrap().push(9);
        assert!(refresh(&ring, KeyWindow::new(10, 2), &store));
        assert_eq!(held(), [10, 11]);
    }

    #[test]
    fn an_unreadable_key_does_not_affect_other_keys() {
        let store = Script { faulty: Some(7), ..Script::default() };
        let ring = KeyRing::new(2, Metrics::default());
        assert!(!refresh(&ring, KeyWindow::new(7, 2), &store));
        assert_eq!(ring.keys.load().keys().copied().collect::<Vec<_>>(), [6, 8]);
        assert_eq!(ring.metrics.visitor_key_failures.get(), 1);
    }
}
