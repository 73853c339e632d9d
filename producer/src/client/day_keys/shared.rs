//! Day keys in a link store that several hosts share: a visitor has one id on all of them.

use std::io;
use std::sync::Mutex;

use crate::client::day_keys::key_window::KeyWindow;
use crate::client::day_keys::{FoundKeys, KeyStore};
use crate::client::visitor_id::{Day, DayKey};
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::store_location::StoreLocation;
use service::lock::lock;

/// The keys of a link store, over one connection that stays open until an error.
#[derive(Debug)]
pub struct SharedKeys {
    location: StoreLocation,
    store: Mutex<Option<Store>>,
}

impl SharedKeys {
    /// The keys of the store at this location.
    pub fn new(location: StoreLocation) -> Self {
        Self { location, store: Mutex::default() }
    }

    fn with_store<T>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> io::Result<T> {
        let mut kept = lock(&self.store);
        let mut store = match kept.take() {
            Some(store) => store,
            None => Store::open(&self.location).map_err(io_error)?,
        };
        let done = call(&mut store).map_err(io_error)?;
        *kept = Some(store);
        Ok(done)
    }
}

impl KeyStore for SharedKeys {
    fn window_keys(&self, window: KeyWindow) -> io::Result<FoundKeys> {
        let (first, last) = (number(window.first())?, number(window.last())?);
        let made = [number(window.last() - 1)?, last];
        let secrets = self.with_store(|store| {
            let mut secrets = store.day_keys(first..=last)?;
            let lacks = |day: &i32| secrets.iter().all(|(found, _)| found != day);
            let missing: Vec<_> = made.into_iter().filter(lacks).collect();
            if !missing.is_empty() {
                missing.into_iter().try_for_each(|day| store.make_day_key(day))?;
                secrets = store.day_keys(first..=last)?;
            }
            Ok(secrets)
        })?;
        let mut found = FoundKeys::default();
        for (day, secret) in secrets {
            match DayKey::try_from(secret.as_slice()) {
                Ok(key) => {
                    found.keys.insert(day.into(), key);
                }
                Err(_) => {
                    let error = format!("the key of day {day} does not have 32 bytes");
                    found.faults.insert(day.into(), io::Error::other(error));
                }
            }
        }
        Ok(found)
    }

    fn forget_before(&self, window: KeyWindow) -> io::Result<u64> {
        let (first, days) = (number(window.first())?, number(window.days())?);
        self.with_store(|store| store.forget_before(first, days))
    }

    fn forget_day(&self, day: Day) -> io::Result<bool> {
        let day = number(day)?;
        self.with_store(|store| store.forget_day(day))
    }

    fn days(&self) -> io::Result<Vec<Day>> {
        Ok(self.with_store(Store::days)?.into_iter().map(Day::from).collect())
    }
}

/// An error that only a changed setting fixes becomes `InvalidInput`; other errors may pass.
fn io_error(error: StoreError) -> io::Error {
    match error {
        StoreError::Unusable(_) => io::Error::new(io::ErrorKind::InvalidInput, error),
        StoreError::Refused(_)
        | StoreError::Conflict
        | StoreError::Unreachable(_)
        | StoreError::Unpublished(_) => io::Error::other(error),
    }
}

/// The day as the store holds it. Each day of a click fits; other days have no key.
fn number(day: Day) -> io::Result<i32> {
    i32::try_from(day).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_users_of_a_store_have_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let keys = || SharedKeys::new(StoreLocation::File(folder.path().join("links.db")));
        let of = |day: Day| keys().window_keys(KeyWindow::new(day, 2)).unwrap().keys[&day];
        let key = of(20_783);
        assert_eq!(of(20_783), key);
        assert_ne!(of(20_784), key);
        assert_eq!(keys().days().unwrap(), [20_783, 20_784, 20_785]);
        assert!(keys().forget_day(20_783).unwrap() && !keys().forget_day(20_783).unwrap());
        assert_ne!(of(20_783), key);
    }

    #[test]
    fn m15_a_shared_key_is_deleted_after_its_days_and_made_on_no_later_day() {
        let folder = tempfile::tempdir().unwrap();
        let keys = SharedKeys::new(StoreLocation::File(folder.path().join("links.db")));
        let days = |today| {
            let window = KeyWindow::new(today, 2);
            let found = keys.window_keys(window).unwrap();
            let forgotten = keys.forget_before(window).unwrap();
            (found.keys.keys().copied().collect::<Vec<_>>(), forgotten)
        };
        assert_eq!(days(100), (vec![100, 101], 0));
        assert_eq!(days(101), (vec![100, 101, 102], 0));
        assert_eq!(days(102), (vec![101, 102, 103], 1));
        assert!(keys.forget_day(102).unwrap());
        assert_eq!(days(103), (vec![103, 104], 1));
        assert_eq!(keys.days().unwrap(), [103, 104]);
    }

    #[test]
    fn m5_one_connection_is_kept_and_an_error_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let keys = SharedKeys::new(StoreLocation::File(folder.path().join("links.db")));
        let connected = || lock(&keys.store).is_some();
        assert!(!connected());
        keys.window_keys(KeyWindow::new(100, 2)).unwrap();
        assert!(connected());
        // The kept connection still has the file, which a new one would not find.
        std::fs::remove_file(folder.path().join("links.db")).unwrap();
        assert_eq!(keys.days().unwrap(), [100, 101]);
        let failed = keys.with_store(|_| Err::<(), _>(StoreError::Conflict));
        assert!(failed.is_err() && !connected());
        for name in ["links.db-wal", "links.db-shm"] {
            drop(std::fs::remove_file(folder.path().join(name)));
        }
        assert!(keys.days().unwrap().is_empty() && connected());
    }
}
