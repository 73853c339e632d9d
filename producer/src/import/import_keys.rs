//! The keys for visitor ids of an import.
//!
//! Clicks of the days that the store keeps have the ids of redirects. Those of earlier days get ids
//! that agree within one import: their keys follow from a secret of this process, which is never
//! stored, so nothing is left of them to be deleted.

use std::io;

use crate::client::day_keys::{DayKeys as _, KeyRing, KeyStore, today};
use crate::client::visitor_id::{Day, DayKey, VisitorKey, derived_key};
use crate::clock::now_ms;

/// Between two reads of the store.
const REFRESH_MS: u64 = 60_000;

/// Keys of any day.
#[derive(Debug)]
pub struct ImportKeys {
    ring: KeyRing,
    store: Box<dyn KeyStore>,
    secret: DayKey,
    /// The last derived key: lines of a file are mostly of one day.
    derived: Option<DerivedKey>,
    refreshed: Option<Refreshed>,
}

#[derive(Debug)]
struct DerivedKey {
    day: Day,
    key: VisitorKey,
}

/// The last read of the store.
#[derive(Debug, Clone, Copy)]
struct Refreshed {
    at_ms: u64,
    is_complete: bool,
}

impl ImportKeys {
    /// Keys of a store, which is not read yet, and of a new secret.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn new(ring: KeyRing, store: Box<dyn KeyStore>) -> io::Result<Self> {
        let mut secret = DayKey::default();
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { ring, store, secret, derived: None, refreshed: None })
    }

    /// The key of a day. None where the store may have it and cannot be read: a visitor with another
    /// id than at the redirects would count twice. May wait for the store.
    pub fn key(&mut self, day: Day) -> Option<VisitorKey> {
        let is_complete = self.refresh_when_due();
        if let Some(key) = self.ring.key(day) {
            return Some(key);
        }
        // A missing key of a past day is nowhere, once the store was read.
        let is_nowhere = if is_complete { day < today() } else { day < self.ring.window().first() };
        is_nowhere.then(|| self.derived(day))
    }

    fn refresh_when_due(&mut self) -> bool {
        let now_ms = now_ms();
        if let Some(Refreshed { at_ms, is_complete }) = self.refreshed
            && now_ms.saturating_sub(at_ms) < REFRESH_MS
        {
            return is_complete;
        }
        let is_complete = self.ring.refresh(&*self.store);
        self.refreshed = Some(Refreshed { at_ms: now_ms, is_complete });
        is_complete
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
    use crate::client::visitor_id;
    use crate::metrics::Metrics;

    fn keys(folder: &std::path::Path, days: u16) -> ImportKeys {
        let store = Box::new(KeyFolder::open(folder).unwrap());
        ImportKeys::new(KeyRing::new(days, Metrics::default()), store).unwrap()
    }

    fn id(key: Option<VisitorKey>) -> Option<[u8; 8]> {
        let click = RawClick { user_agent: Some("M"), ..RawClick::new(Uuid::nil(), 0, "a") };
        visitor_id::id(&key?, Some(&ClientIp::new([203, 0, 113, 7].into())), &click)
    }

    #[test]
    fn m15_an_import_of_old_days_makes_ids_that_agree_and_stores_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (keys(folder.path(), 2), keys(folder.path(), 2));
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
        let mut keys = keys(&folder.path().join("keys"), 3);
        std::fs::remove_dir_all(folder.path().join("keys")).unwrap();
        let today = today();
        let ids = [today - 4, today - 2, today - 1, today].map(|day| keys.key(day).is_some());
        assert_eq!(ids, [true, false, false, false]);
    }
}
