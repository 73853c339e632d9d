//! Keys in the link store, where several hosts share one: a visitor has one id on all of them.

use std::io;

use crate::client::day_keys::KeyStore;
use crate::client::visitor_id::{Day, DayKey};
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::store_location::StoreLocation;

/// Keys of a link store. It is opened for each call, of which there are two a minute.
#[derive(Debug)]
pub struct SharedKeys(StoreLocation);

impl SharedKeys {
    /// The keys of the store at this location.
    pub fn new(location: StoreLocation) -> Self {
        Self(location)
    }

    fn with_store<T>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> io::Result<T> {
        Store::open(&self.0).and_then(|mut store| call(&mut store)).map_err(io::Error::other)
    }
}

impl KeyStore for SharedKeys {
    fn day_key(&self, day: Day) -> io::Result<DayKey> {
        let day = number(day)?;
        self.with_store(|store| store.day_key(day))
    }

    fn forget_day(&self, day: Day) -> io::Result<bool> {
        let day = number(day)?;
        self.with_store(|store| store.forget_day(day))
    }

    fn days(&self) -> io::Result<Vec<Day>> {
        Ok(self.with_store(Store::days)?.into_iter().map(Day::from).collect())
    }
}

/// Clicks are of days that fit; others have no key.
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
        let key = keys().day_key(20_783).unwrap();
        assert_eq!(keys().day_key(20_783).unwrap(), key);
        assert_ne!(keys().day_key(20_784).unwrap(), key);
        assert_eq!(keys().days().unwrap(), [20_783, 20_784]);
        assert!(keys().forget_day(20_783).unwrap() && !keys().forget_day(20_783).unwrap());
        assert_ne!(keys().day_key(20_783).unwrap(), key);
    }
}
