//! The list of expected clicks: every event, recorded before the generator sends it, and the location
//! of each record as the broker acknowledged it.
//!
//! Before a fault destroys records in the log, the list records which of them the group has not
//! committed: only these may be missing from the table.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};

/// An event's id.
pub(super) type Id = [u8; 16];

/// The content of a record: the number of an event in the list, or [`BAD`].
pub(super) type What = u32;

/// The location of a record: generation of the topic, partition and offset.
pub(super) type LogLocation = (usize, i32, i64);

/// A record that cannot become a click.
pub(super) const BAD: What = u32::MAX - 1;
/// No record with this offset is acknowledged yet.
const UNKNOWN: What = u32::MAX;

/// The list, which the generator writes and the checks read.
#[derive(Debug)]
pub(super) struct ExpectedClicks {
    state: Mutex<ExpectedState>,
    write_lock: Mutex<()>,
}

/// Its content.
#[derive(Debug)]
pub(super) struct ExpectedState {
    /// All events, in the order of their creation.
    pub events: Vec<Id>,
    /// Records passed to the client.
    pub sent: u64,
    /// Records that the broker has acknowledged.
    pub logged: u64,
    /// Sent records that are copies of an earlier one.
    pub resends: u64,
    /// Sent bad records.
    pub bad: u64,
    /// The cause of a failed write.
    pub failed: Option<String>,
    /// When each generation of the topic was created, by the broker's clock, milliseconds since 1970.
    pub made_ms: Vec<i64>,
    /// The records of the current topic, by partition and offset.
    locations: Vec<Vec<What>>,
    /// By partition: the offset below which all locations are known.
    known: Vec<usize>,
    /// Records that were destroyed before the group committed them.
    destroyed: HashSet<LogLocation>,
    /// Events with a committed record in a deleted topic.
    kept: HashSet<What>,
    /// Bad records of deleted topics.
    bad_locations: Vec<LogLocation>,
}

/// The expected content of the log, as the audit must find it.
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

    /// Locks the list.
    pub(super) fn lock(&self) -> MutexGuard<'_, ExpectedState> {
        self.state.lock().expect("no thread panics with the lock of the list")
    }

    /// Locks the log for writers.
    pub(super) fn write_lock(&self) -> MutexGuard<'_, ()> {
        self.write_lock.lock().expect("no thread panics with the right to write")
    }
}

impl ExpectedState {
    /// Partitions of the log.
    pub(super) fn partitions(&self) -> i32 {
        i32::try_from(self.locations.len()).expect("few partitions")
    }

    /// The generation of the topic.
    pub(super) fn topic(&self) -> usize {
        self.made_ms.len() - 1
    }

    /// The generation of the topic at a log time.
    pub(super) fn topic_at(&self, logged_at_ms: i64) -> usize {
        self.made_ms.iter().rposition(|made| *made <= logged_at_ms).unwrap_or(0)
    }

    /// Records an event before it is sent.
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

    /// The offset below which all locations of a partition are known.
    pub(super) fn known(&self, partition: i32) -> i64 {
        i64::try_from(self.known[at(partition.into())]).expect("an offset")
    }

    /// The known records of a partition from `from` to `to`.
    pub(super) fn stretch(&self, partition: usize, from: i64, to: i64) -> &[What] {
        let to = at(to).min(self.known[partition]);
        self.locations[partition].get(at(from)..to).unwrap_or_default()
    }

    /// Adds a partition.
    pub(super) fn grown(&mut self) {
        self.locations.push(Vec::new());
        self.known.push(0);
    }

    /// Records that a fault will destroy the records from `committed` up to `to`.
    pub(super) fn destroy(&mut self, partition: i32, committed: i64, to: i64) {
        let topic = self.topic();
        self.destroyed.extend((committed..to).map(|offset| (topic, partition, offset)));
    }

    /// Records that a fault will delete the topic and recreate it after `now_ms`, with as many partitions.
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

    /// Whether a record must be processed.
    pub(super) fn is_owed(&self, location: &LogLocation) -> bool {
        !self.destroyed.contains(location)
    }

    /// Records that were destroyed before they were committed.
    pub(super) fn destroyed(&self) -> u64 {
        self.destroyed.len() as u64
    }

    /// The locations of all bad records.
    pub(super) fn bad_locations(&self) -> Vec<LogLocation> {
        let standing = self.all().filter(|(_, what)| *what == BAD).map(|(location, _)| location);
        self.bad_locations.iter().copied().chain(standing).collect()
    }

    /// The content of the log, whose partitions start at `lows`.
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
