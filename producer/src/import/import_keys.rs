//! The keys of visitor ids of an import.
//!
//! On all days whose keys the store has, imported clicks get the same visitor ids as redirects; an import
//! deletes no key. On other days the ids are the same within one import only: their keys are derived from
//! a secret of this process, which is never stored, so that no key is left to be deleted.
#![expect(clippy::disallowed_methods, reason = "the secret of an import is random")]

use std::collections::BTreeSet;
use std::io;

use service::number::millis;

use crate::client::day_keys::refresh_schedule::RefreshSchedule;
use crate::client::day_keys::{DAYS_MAX, DayKeys as _, KeyRing, KeyStore, today};
use crate::client::visitor_id::{Day, DayKey, VisitorKey, derived_key};
use crate::clock::now_ms;
use crate::metrics::Metrics;

/// Keys of any day.
#[derive(Debug)]
pub struct ImportKeys {
    ring: KeyRing,
    store: Box<dyn KeyStore>,
    secret: DayKey,
    /// The last derived key; successive lines are mostly of one day.
    derived: Option<DerivedKey>,
    schedule: RefreshSchedule,
    refreshed: Option<Refreshed>,
}

#[derive(Debug)]
struct DerivedKey {
    day: Day,
    key: VisitorKey,
}

/// The last read of the store.
#[derive(Debug)]
struct Refreshed {
    next_ms: u64,
    /// The days whose keys cannot be read; `None` if the store did not answer.
    faulty: Option<BTreeSet<Day>>,
}

impl ImportKeys {
    /// Keys of a store, which is read later, and of a new secret.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn new(metrics: &Metrics, store: Box<dyn KeyStore>) -> io::Result<Self> {
        let (ring, schedule) =
            (KeyRing::new(DAYS_MAX, metrics.clone()), RefreshSchedule::default());
        let mut secret = DayKey::default();
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { ring, store, secret, derived: None, schedule, refreshed: None })
    }

    /// The key of a day. `None` if the store may have the key and cannot be read: with another id than in
    /// redirects, a visitor would count twice. May wait for the store.
    pub fn key(&mut self, day: Day) -> Option<VisitorKey> {
        self.refresh_when_due();
        if let Some(key) = self.ring.key(day) {
            return Some(key);
        }
        let faulty = self.refreshed.as_ref().and_then(|refreshed| refreshed.faulty.as_ref());
        let is_nowhere = match faulty {
            // If the store was read and has no key of a past day, that key does not exist.
            Some(faulty) => day < today() && !faulty.contains(&day),
            None => day < self.ring.window().first(),
        };
        is_nowhere.then(|| self.derived(day))
    }

    fn refresh_when_due(&mut self) {
        let now_ms = now_ms();
        if self.refreshed.as_ref().is_some_and(|refreshed| now_ms < refreshed.next_ms) {
            return;
        }
        let faulty = self.ring.refresh(&*self.store);
        let wait = self.schedule.wait_after(faulty.as_ref().is_some_and(BTreeSet::is_empty));
        self.refreshed = Some(Refreshed { next_ms: now_ms + millis(wait), faulty });
    }

    fn derived(&mut self, day: Day) -> VisitorKey {
        if let Some(derived) = &self.derived
            && derived.day == day
        {
            return derived.key.clone();
        }
        let key = VisitorKey::from(derived_key(&self.secret, day));
        self.derived = Some(DerivedKey { day, key: key.clone() });
        key
    }
}

#[cfg(test)]
mod tests {
    use schemas::RawClick;
    use uuid::Uuid;

    use super::*;
    use crate::click::ClientIp;
    use crate::client::day_keys::folder::KeyFolder;
    use crate::client::day_keys::key_window::KeyWindow;
    use crate::client::visitor_id;

    fn keys(folder: &std::path::Path) -> ImportKeys {
        let store = Box::new(KeyFolder::open(folder).unwrap());
        ImportKeys::new(&Metrics::default(), store).unwrap()
    }

    fn id(key: Option<VisitorKey>) -> Option<[u8; 8]> {
        let click = RawClick { user_agent: Some("M"), ..RawClick::new(Uuid::nil(), 0, "a") };
        visitor_id::id(&key?, Some(&ClientIp::new([203, 0, 113, 7].into())), &click)
    }

    #[test]
    fn m15_an_import_of_old_days_makes_ids_that_agree_and_stores_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (keys(folder.path()), keys(folder.path()));
        let today = today();
        for day in [today - 9_000, today - 2, today - 1] {
            let made = id(one.key(day));
            assert!(made.is_some() && id(one.key(day)) == made);
            assert_ne!(id(one.key(day - 1)), made);
            assert_eq!(id(one.key(day)), made, "also after another day");
            assert_ne!(id(other.key(day)), made, "another import has another secret");
        }
        assert_eq!(id(one.key(today)), id(other.key(today)), "the key of redirects");
        let store = KeyFolder::open(folder.path()).unwrap();
        assert!(store.days().unwrap().iter().all(|day| *day >= today));
    }

    #[test]
    fn m15_without_its_store_an_import_gives_recent_days_no_id_and_old_days_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = keys(&folder.path().join("keys"));
        std::fs::remove_dir_all(folder.path().join("keys")).unwrap();
        let today = today();
        let days = [today - 400, today - 399, today - 2, today - 1, today];
        assert_eq!(days.map(|day| keys.key(day).is_some()), [true, false, false, false, false]);
    }

    #[test]
    fn an_unreadable_key_costs_the_ids_of_its_own_day_only() {
        let folder = tempfile::tempdir().unwrap();
        let today = today();
        // Makes the keys of two days, which are damaged afterwards.
        let store = KeyFolder::open(folder.path()).unwrap();
        store.window_keys(KeyWindow::new(today - 30, 1)).unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::OpenOptions::new()
                .write(true)
                .open(entry.unwrap().path())
                .unwrap()
                .set_len(3)
                .unwrap();
        }
        let mut keys = keys(folder.path());
        for (ago, has_key) in [
            (500, true),
            (399, true),
            (31, true),
            (30, false),
            (29, false),
            (28, true),
            (1, true),
            (0, true),
        ] {
            assert_eq!(keys.key(today - ago).is_some(), has_key, "{ago} days ago");
        }
    }

    #[test]
    fn m15_an_import_deletes_no_key_and_uses_those_of_all_days_that_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (store, today) = (KeyFolder::open(folder.path()).unwrap(), today());
        // Of a host that keeps them for long; and one that even that host keeps no more.
        let days = [today - 9_000, today - 300, today - 30, today - 2, today];
        for day in days {
            store.window_keys(KeyWindow::new(day, 1)).unwrap();
        }
        let before = store.days().unwrap();
        let mut keys = keys(folder.path());
        let kept = store.window_keys(KeyWindow::new(today, DAYS_MAX)).unwrap().keys;
        for day in [today - 300, today - 30, today - 2, today] {
            assert_eq!(id(keys.key(day)), id(Some(kept[&day].into())), "{} days ago", today - day);
        }
        assert!(keys.key(today - 9_000).is_some());
        let after = store.days().unwrap();
        assert!(before.iter().all(|day| after.contains(day)), "{before:?}, {after:?}");
    }
}
