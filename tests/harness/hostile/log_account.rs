//! The account of hostile records: how many the broker accepted and refused, and the fate of each
//! accepted one.

use std::collections::{BTreeMap, HashSet};

use schemas::headers;

use super::honest_clicks;
use crate::kafka::Logged;
use crate::raw_produce::RawBatch;
use crate::world::World;

/// The batches sent to one topic.
#[derive(Debug, Default)]
pub(super) struct LogAccount {
    /// Partition, first offset, records.
    taken: Vec<(i32, i64, i64)>,
    /// Refused records by the broker's code; 1,000: the broker closed the connection.
    pub refused: BTreeMap<i16, u64>,
}

/// The fates of the records that the broker accepted.
#[derive(Debug, Default, Clone)]
pub(super) struct Fates {
    /// Rows.
    pub rows: u64,
    /// Complete dead letters.
    pub dead_letters: u64,
    /// Records with a stub, of their own or of their batch.
    pub stubs: u64,
    /// Records without row and dead letter: partition and offset.
    pub missing: Vec<(i32, i64)>,
}

/// The code if the broker gave none.
const NO_ANSWER: i16 = 1_000;

impl LogAccount {
    /// Sends a batch.
    pub(super) fn send(&mut self, batch: &RawBatch, brokers: &str, topic: &str, partition: i32) {
        let records = i64::from(batch.count.max(1));
        match batch.try_send(brokers, topic, partition) {
            Ok((0, base)) => self.taken.push((partition, base, records)),
            Ok((code, _)) => *self.refused.entry(code).or_default() += 1,
            Err(_) => *self.refused.entry(NO_ANSWER).or_default() += 1,
        }
    }

    /// Records that the broker accepted.
    pub(super) fn taken(&self) -> u64 {
        self.taken.iter().map(|(_, _, records)| records.unsigned_abs()).sum()
    }

    /// Batches that the broker refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The fates of records of clicks, after all are processed.
    pub(super) fn fates(&self, world: &World) -> Fates {
        let rows = rows(world);
        let (mut whole, mut stubs, mut ranges) = (HashSet::new(), HashSet::new(), Vec::new());
        world.kafka.each(&world.dead_letters(), |letter| {
            let partition = number(&letter, headers::CONNECT_PARTITION);
            let offset = number(&letter, headers::CONNECT_OFFSET);
            let at = (i32::try_from(partition).expect("a partition"), offset);
            match letter.header(headers::DEAD_LETTER_STUB) {
                Some("batch") => {
                    ranges.push((at, number(&letter, headers::STUB_LAST_OFFSET)));
                }
                Some(_) => {
                    stubs.insert(at);
                }
                None => {
                    whole.insert(at);
                }
            }
        });
        let in_range = |at: (i32, i64)| {
            let holds = |&(first, last): &((i32, i64), i64)| {
                first.0 == at.0 && (first.1..=last).contains(&at.1)
            };
            ranges.iter().any(holds)
        };
        let mut fates = Fates::default();
        for &(partition, base, records) in &self.taken {
            for at in (base..base + records).map(|offset| (partition, offset)) {
                if rows.contains(&at) {
                    fates.rows += 1;
                } else if whole.contains(&at) {
                    fates.dead_letters += 1;
                } else if stubs.contains(&at) || in_range(at) {
                    fates.stubs += 1;
                } else {
                    fates.missing.push(at);
                }
            }
        }
        fates
    }
}

/// The log locations of the rows of hostile clicks.
fn rows(world: &World) -> HashSet<(i32, i64)> {
    let honest = honest_clicks::SLUG;
    let text = world.query(&format!(
        "SELECT DISTINCT kafka_partition, kafka_offset FROM click_versions WHERE slug != '{honest}'"
    ));
    let pairs = text.lines().filter_map(|line| line.split_once('\t'));
    pairs.filter_map(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?))).collect()
}

fn number(letter: &Logged, name: &str) -> i64 {
    let text = letter.header(name).unwrap_or_else(|| panic!("no {name} in {letter:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}
