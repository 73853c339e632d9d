//! The generator's list: every event it minted, recorded before it is sent, and the location of each
//! record as the broker acknowledged it.
//!
//! A fault that destroys records in the log records beforehand which of them the group has not
//! committed: these may be missing from the table, and no others.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};

/// An event's id.
pub(super) type Id = [u8; 16];

/// What a record is: the number of an event in the list, or a record that can never be one.
pub(super) type What = u32;

/// Where a record stands: which topic of that name it was, partition and offset.
pub(super) type LogLocation = (usize, i32, i64);

/// A record that can never be a click.
pub(super) const BAD: What = u32::MAX - 1;
/// The broker has not acknowledged a record there yet.
const UNKNOWN: What = u32::MAX;

/// The list. Shared by the generator, which writes it, and the checks.
#[derive(Debug)]
pub(super) struct ExpectedClicks {
    state: Mutex<ExpectedState>,
    write_lock: Mutex<()>,
}

/// Its content.
#[derive(Debug)]
pub(super) struct ExpectedState {
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
    /// When each topic of the name was made, by the broker's clock, milliseconds since 1970.
    pub made_ms: Vec<i64>,
    /// Of the topic that is, by partition and offset.
    locations: Vec<Vec<What>>,
    /// By partition: up to here every place is known.
    known: Vec<usize>,
    /// Destroyed before the group had committed them.
    destroyed: HashSet<LogLocation>,
    /// Of topics that are no more: events with a record that was committed.
    kept: HashSet<What>,
    /// Of topics that are no more: bad records.
    bad_locations: Vec<LogLocation>,
}

/// What the log holds, as the audit should find it.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Its events.
    pub events: HashSet<Id>,
    /// Its records.
    pub records: u64,
    /// Those of them that are bad.
    pub bad: u64,
}

impl ExpectedClicks {
    pub(super) fn new(partitions: usize) -> Self {
        let state = ExpectedState {
            events: Vec::new(),
            sent: 0,
            logged: 0,
            resends: 0,
            bad: 0,
            failed: None,
            made_ms: vec![0],
            locations: vec![Vec::new(); partitions],
            known: vec![0; partitions],
            destroyed: HashSet::new(),
            kept: HashSet::new(),
            bad_locations: Vec::new(),
        };
        Self { state: Mutex::new(state), write_lock: Mutex::new(()) }
    }

    /// To read and write it.
    pub(super) fn lock(&self) -> MutexGuard<'_, ExpectedState> {
        self.state.lock().expect("no thread panics with the lock of the list")
    }

    /// The right to write to the log.
    pub(super) fn write_lock(&self) -> MutexGuard<'_, ()> {
        self.write_lock.lock().expect("no thread panics with the right to write")
    }
}

impl ExpectedState {
    /// Partitions of the log.
    pub(super) fn partitions(&self) -> i32 {
        i32::try_from(self.locations.len()).expect("few partitions")
    }

    /// Which topic of the name it is.
    pub(super) fn topic(&self) -> usize {
        self.made_ms.len() - 1
    }

    /// Which topic of the name a record was in that was logged then.
    pub(super) fn topic_at(&self, logged_at_ms: i64) -> usize {
        self.made_ms.iter().rposition(|made| *made <= logged_at_ms).unwrap_or(0)
    }

    /// Records an event that is about to be sent.
    pub(super) fn mint(&mut self, id: Id) -> What {
        self.events.push(id);
        What::try_from(self.events.len() - 1).expect("fewer than four billion events")
    }

    /// Records the location of a record.
    pub(super) fn placed(&mut self, partition: i32, offset: i64, what: What) {
        let (partition, offset) = (at(partition.into()), at(offset));
        let locations = &mut self.locations[partition];
        if locations.len() <= offset {
            locations.resize(offset + 1, UNKNOWN);
        }
        locations[offset] = what;
        let known = &mut self.known[partition];
        while locations.get(*known).is_some_and(|what| *what != UNKNOWN) {
            *known += 1;
        }
        self.logged += 1;
    }

    /// Up to where every place of a partition is known.
    pub(super) fn known(&self, partition: i32) -> i64 {
        i64::try_from(self.known[at(partition.into())]).expect("an offset")
    }

    /// What stands in a partition from `from` on, as far as it is known and below `to`.
    pub(super) fn stretch(&self, partition: usize, from: i64, to: i64) -> &[What] {
        let to = at(to).min(self.known[partition]);
        self.locations[partition].get(at(from)..to).unwrap_or_default()
    }

    /// The log has one more partition.
    pub(super) fn grown(&mut self) {
        self.locations.push(Vec::new());
        self.known.push(0);
    }

    /// Records from `committed` up to `to` are about to be destroyed.
    pub(super) fn destroy(&mut self, partition: i32, committed: i64, to: i64) {
        let topic = self.topic();
        self.destroyed.extend((committed..to).map(|offset| (topic, partition, offset)));
    }

    /// The topic is about to be deleted, and recreated after `now_ms`, with as many partitions.
    pub(super) fn recreate(&mut self, committed: &[i64], now_ms: i64) {
        for (partition, committed) in (0..).zip(committed) {
            self.destroy(partition, *committed, self.known(partition));
        }
        self.kept = self.owed_events();
        self.bad_locations = self.bad_locations();
        self.made_ms.push(now_ms);
        self.locations.iter_mut().for_each(Vec::clear);
        self.known.fill(0);
    }

    fn all(&self) -> impl Iterator<Item = (LogLocation, What)> {
        let topic = self.topic();
        (0..).zip(&self.locations).flat_map(move |(partition, locations)| {
            (0..).zip(locations).map(move |(offset, what)| ((topic, partition, offset), *what))
        })
    }

    fn owed_events(&self) -> HashSet<What> {
        let standing = self.all().filter(|(location, what)| *what < BAD && self.is_owed(location));
        self.kept.iter().copied().chain(standing.map(|(_, what)| what)).collect()
    }

    /// Events of which at least one record was not destroyed before it was committed.
    pub(super) fn owed(&self) -> Vec<Id> {
        self.owed_events().into_iter().map(|what| self.events[what as usize]).collect()
    }

    /// Whether a record must have been processed, or be processed yet.
    pub(super) fn is_owed(&self, location: &LogLocation) -> bool {
        !self.destroyed.contains(location)
    }

    /// Records that were destroyed before they were committed.
    pub(super) fn destroyed(&self) -> u64 {
        self.destroyed.len() as u64
    }

    /// Every place of a bad record.
    pub(super) fn bad_locations(&self) -> Vec<LogLocation> {
        let standing = self.all().filter(|(_, what)| *what == BAD).map(|(location, _)| location);
        self.bad_locations.iter().copied().chain(standing).collect()
    }

    /// What stands in the log whose partitions begin at `lows`.
    pub(super) fn remains(&self, lows: &BTreeMap<i32, i64>) -> Remains {
        let mut remains = Remains::default();
        for ((_, partition, offset), what) in self.all() {
            if offset < lows.get(&partition).copied().unwrap_or(0) {
                continue;
            }
            remains.records += 1;
            match self.events.get(what as usize) {
                Some(id) => {
                    remains.events.insert(*id);
                }
                None => remains.bad += 1,
            }
        }
        remains
    }
}

fn at(number: i64) -> usize {
    usize::try_from(number).expect("partitions and offsets count from 0")
}
