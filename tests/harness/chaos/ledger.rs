//! The generator's own list: every event it minted, written down before it is sent, and where
//! the broker says that each record stands.

use std::sync::{Mutex, MutexGuard};

/// An event's id.
pub(super) type Id = [u8; 16];

/// What a record is: the number of an event in the list, or a record that can never be one.
pub(super) type What = u32;

/// A record that can never be a click.
pub(super) const BAD: What = u32::MAX - 1;
/// The broker has not told yet what stands there.
const UNKNOWN: What = u32::MAX;

/// The list. Shared by the generator, who writes it, and those who check.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<Books>);

/// What is in it.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Every event, in the order of minting.
    pub events: Vec<Id>,
    /// Records handed to the producer.
    pub sent: u64,
    /// Records that the broker has acknowledged.
    pub logged: u64,
    /// Of those sent, copies of an event that was sent before.
    pub resends: u64,
    /// Of those sent, the bad ones.
    pub bad: u64,
    /// Why a record could not be written.
    pub failed: Option<String>,
    /// By partition and offset.
    places: Vec<Vec<What>>,
    /// By partition: up to here every place is known.
    known: Vec<usize>,
}

impl Ledger {
    pub(super) fn new(partitions: usize) -> Self {
        Self(Mutex::new(Books {
            places: vec![Vec::new(); partitions],
            known: vec![0; partitions],
            ..Books::default()
        }))
    }

    /// To read and write it.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("nobody panics with the ledger in hand")
    }
}

impl Books {
    /// Writes down an event that is about to be sent.
    pub(super) fn mint(&mut self, id: Id) -> What {
        self.events.push(id);
        What::try_from(self.events.len() - 1).expect("fewer than four billion events")
    }

    /// Writes down where a record stands.
    pub(super) fn placed(&mut self, partition: i32, offset: i64, what: What) {
        let (partition, offset) = (at(partition.into()), at(offset));
        let places = &mut self.places[partition];
        if places.len() <= offset {
            places.resize(offset + 1, UNKNOWN);
        }
        places[offset] = what;
        let known = &mut self.known[partition];
        while places.get(*known).is_some_and(|what| *what != UNKNOWN) {
            *known += 1;
        }
        self.logged += 1;
    }

    /// What stands in a partition from `from` on, as far as it is known and below `to`.
    pub(super) fn stretch(&self, partition: usize, from: i64, to: i64) -> &[What] {
        let to = at(to).min(self.known[partition]);
        self.places[partition].get(at(from)..to).unwrap_or_default()
    }

    /// Every place of a bad record.
    pub(super) fn bad_places(&self) -> Vec<(i32, i64)> {
        let mut bad = Vec::new();
        for (partition, places) in (0..).zip(&self.places) {
            let here = (0..).zip(places).filter(|(_, what)| **what == BAD);
            bad.extend(here.map(|(offset, _)| (partition, offset)));
        }
        bad
    }
}

fn at(number: i64) -> usize {
    usize::try_from(number).expect("partitions and offsets count from 0")
}
