//! The records of the log that need no row yet: the group has not processed them, or the job of a skip has to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use records::replay::log_range::LogRange;

use crate::audit::entry::{AuditEntry, Id, LogPosition};
use crate::jobs::job::JobState;

/// Why a record needs no row yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PendingCause {
    /// Its offset is at or beyond the position of the group.
    Lagging,
    /// The group has skipped its offset, and this job is to process it.
    InJob(String),
    /// Likewise, and the job has ended without being done: nothing processes it until the job is resumed.
    InEndedJob(String),
}

impl PendingCause {
    /// Nothing processes the record until an operator resumes the job.
    pub fn is_abandoned(&self) -> bool {
        matches!(self, Self::InEndedJob(_))
    }
}

/// A replay, as the audit reads it.
#[derive(Debug, Clone)]
pub struct ReplayRanges {
    /// Job.
    pub id: String,
    /// How far it is.
    pub state: JobState,
    /// It is the job of a skip, and its gap is open.
    pub has_gap: bool,
    /// What it reads, by partition.
    pub ranges: BTreeMap<i32, Vec<LogRange>>,
}

impl ReplayRanges {
    fn has(&self, position: LogPosition) -> bool {
        let ranges = self.ranges.get(&position.partition).map(Vec::as_slice).unwrap_or_default();
        ranges.iter().any(|range| range.contains(position.offset))
    }
}

/// What the group and the jobs of skips have still to process.
#[derive(Debug, Clone, Default)]
pub struct PendingOffsets {
    positions: BTreeMap<i32, i64>,
    replays: Vec<ReplayRanges>,
}

impl PendingOffsets {
    /// The committed positions of the group, which were read before the view, and the replays of the topic,
    /// the newest one first. Of a group without any position it is not known what it has processed: nothing
    /// is lagging.
    pub fn new(positions: BTreeMap<i32, i64>, replays: Vec<ReplayRanges>) -> Self {
        Self { positions, replays }
    }

    /// Whether the group has committed a position before one of these offsets of partitions.
    pub fn is_before(&self, mut firsts: impl Iterator<Item = (i32, i64)>) -> bool {
        firsts
            .any(|(partition, first)| self.positions.get(&partition).is_some_and(|at| *at < first))
    }

    /// Lowers the first offset of the partition in `firsts` to that of a record if it is lagging.
    pub fn note_lagging(&self, position: LogPosition, firsts: &mut BTreeMap<i32, i64>) {
        if self.cause(position) == Some(PendingCause::Lagging) {
            let first = firsts.entry(position.partition).or_insert(position.offset);
            *first = position.offset.min(*first);
        }
    }

    /// Why a record needs no row yet; `None` if it needs one.
    pub fn cause(&self, position: LogPosition) -> Option<PendingCause> {
        let committed = self.positions.get(&position.partition).copied().unwrap_or_default();
        if !self.positions.is_empty() && position.offset >= committed {
            return Some(PendingCause::Lagging);
        }
        let has = |replay: &&ReplayRanges| replay.has(position);
        let mut gaps = self.replays.iter().filter(|replay| replay.has_gap);
        if let Some(replay) = gaps.find(|replay| !replay.state.has_ended() && has(replay)) {
            return Some(PendingCause::InJob(replay.id.clone()));
        }
        // A gap whose job ended early is open until a newer replay has processed it.
        let mut deciding =
            self.replays.iter().filter(|replay| replay.has_gap || replay.state == JobState::Done);
        let newest = deciding.find(has).filter(|replay| replay.has_gap)?;
        Some(PendingCause::InEndedJob(newest.id.clone()))
    }

    /// Calls `take` with each event of `lacking`, the sorted records that have neither a row nor a dead letter, and
    /// notes each of them in `lagging_from` if it is lagging. An event is pending only if all of these records are.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn for_each_event<E>(
        &self,
        lacking: impl Iterator<Item = Result<AuditEntry, E>>,
        lagging_from: &mut BTreeMap<i32, i64>,
        mut take: impl FnMut(LackingEvent),
    ) -> Result<(), E> {
        let mut current: Option<LackingEvent> = None;
        for record in lacking {
            let AuditEntry { id, position } = record?;
            self.note_lagging(position, lagging_from);
            let record = LackingEvent { id, position, pending: self.cause(position) };
            match &mut current {
                Some(event) if event.id == id => event.add(record),
                Some(_) | None => current.replace(record).into_iter().for_each(&mut take),
            }
        }
        current.into_iter().for_each(take);
        Ok(())
    }
}

/// An event that has neither a row nor, of each record, a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LackingEvent {
    /// The event.
    pub id: Id,
    /// Its first record that needs a row; of a pending event, the first one.
    pub position: LogPosition,
    /// Why it needs no row yet; `None`: it is missing.
    pub pending: Option<PendingCause>,
}

impl LackingEvent {
    fn add(&mut self, record: Self) {
        let Some(own) = self.pending.take() else { return };
        match record.pending {
            Some(cause) => self.pending = Some(own.max(cause)),
            None => self.position = record.position,
        }
    }
}

/// How many events and undecodable records are pending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// Those that the group has not processed.
    pub lagging: u64,
    /// Those that the job of a skip has to process, by job.
    pub in_jobs: BTreeMap<String, u64>,
    /// The jobs among them that have ended without being done.
    pub ended_jobs: BTreeSet<String>,
}

impl PendingCounts {
    /// Counts one.
    pub fn add(&mut self, cause: PendingCause) {
        match cause {
            PendingCause::Lagging => self.lagging += 1,
            PendingCause::InJob(id) => *self.in_jobs.entry(id).or_default() += 1,
            PendingCause::InEndedJob(id) => {
                *self.in_jobs.entry(id.clone()).or_default() += 1;
                self.ended_jobs.insert(id);
            }
        }
    }

    /// Those of all jobs.
    pub fn in_job(&self) -> u64 {
        self.in_jobs.values().sum()
    }

    /// Each job with its count.
    pub fn jobs(&self) -> String {
        let jobs: Vec<_> =
            self.in_jobs.iter().map(|(id, count)| format!("{id}: {count}")).collect();
        jobs.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> LogPosition {
        LogPosition { partition, offset }
    }

    fn replay(id: &str, state: JobState, first: i64, end: i64) -> ReplayRanges {
        let ranges = BTreeMap::from([(0, vec![LogRange { first, end }])]);
        ReplayRanges { id: id.to_owned(), state, has_gap: false, ranges }
    }

    fn skip(id: &str, state: JobState, first: i64, end: i64) -> ReplayRanges {
        ReplayRanges { has_gap: true, ..replay(id, state, first, end) }
    }

    fn in_ended(id: &str) -> Option<PendingCause> {
        Some(PendingCause::InEndedJob(id.to_owned()))
    }

    fn in_job(id: &str) -> Option<PendingCause> {
        Some(PendingCause::InJob(id.to_owned()))
    }

    #[test]
    fn an_offset_at_or_beyond_the_position_of_the_group_is_lagging() {
        let pending = PendingOffsets::new(BTreeMap::from([(0, 10)]), Vec::new());
        let lagging = Some(PendingCause::Lagging);
        assert_eq!((pending.cause(at(0, 9)), pending.cause(at(0, 10))), (None, lagging.clone()));
        assert_eq!(pending.cause(at(1, 0)), lagging, "nothing of this partition is committed yet");
        assert_eq!(PendingOffsets::default().cause(at(0, 10)), None, "another group processes it");
        let is_before = |offset| pending.is_before([(0, offset), (1, 5)].into_iter());
        assert!(is_before(11) && !is_before(10), "of partition 1 it is not known");
        let mut firsts = BTreeMap::new();
        [at(0, 9), at(0, 12), at(0, 11), at(1, 3)]
            .into_iter()
            .for_each(|it| pending.note_lagging(it, &mut firsts));
        assert_eq!(firsts, BTreeMap::from([(0, 11), (1, 3)]));
    }

    #[test]
    fn the_job_of_a_skip_names_its_gap_until_it_or_a_newer_replay_is_done() {
        let cause = |replays: &[ReplayRanges]| {
            PendingOffsets::new(BTreeMap::from([(0, 100)]), replays.to_vec()).cause(at(0, 5))
        };
        for state in JobState::ALL {
            assert_eq!(
                cause(&[replay("a", state, 5, 6)]),
                None,
                "live processing has read it: {state}"
            );
        }
        for state in [JobState::Planned, JobState::Planning, JobState::Running] {
            assert_eq!(cause(&[skip("a", state, 5, 6)]), in_job("a"), "{state}");
        }
        for state in [JobState::Cancelled, JobState::Failed, JobState::Unverified] {
            assert_eq!(cause(&[skip("a", state, 5, 6)]), in_ended("a"), "{state}");
        }
        assert_eq!(cause(&[skip("a", JobState::Running, 6, 9)]), None);
        let failed = skip("old", JobState::Failed, 0, 9);
        assert_eq!(cause(&[replay("new", JobState::Done, 0, 9), failed.clone()]), None);
        assert_eq!(cause(&[replay("new", JobState::Done, 7, 9), failed.clone()]), in_ended("old"));
        let other = replay("new", JobState::Cancelled, 0, 9);
        assert_eq!(cause(&[other, failed.clone()]), in_ended("old"), "it read nothing to its end");
        assert_eq!(cause(&[skip("new", JobState::Failed, 0, 9), failed]), in_ended("new"));
        let running = skip("old", JobState::Running, 0, 9);
        assert_eq!(cause(&[replay("new", JobState::Done, 0, 9), running]), in_job("old"));
    }

    #[test]
    fn an_event_is_pending_only_if_each_of_its_records_is() {
        let job = skip("a", JobState::Running, 0, 3);
        let pending = PendingOffsets::new(BTreeMap::from([(0, 10)]), vec![job]);
        let found = |offsets: &[(u8, i64)]| {
            let records = offsets.iter().map(|(event, offset)| {
                Ok::<_, ()>(AuditEntry { id: [*event; 16], position: at(0, *offset) })
            });
            let mut events = Vec::new();
            let take = |event: LackingEvent| events.push((event.position.offset, event.pending));
            pending.for_each_event(records, &mut BTreeMap::new(), take).unwrap();
            events
        };
        let lagging = || Some(PendingCause::Lagging);
        assert_eq!(found(&[(1, 12), (2, 1), (2, 15)]), [(12, lagging()), (1, in_job("a"))]);
        assert_eq!(found(&[(1, 1), (1, 5), (1, 15)]), [(5, None)]);
        let mut counts = PendingCounts::default();
        [lagging(), in_job("a"), in_ended("b"), in_ended("b")]
            .into_iter()
            .flatten()
            .for_each(|it| counts.add(it));
        assert_eq!((counts.lagging, counts.in_job(), counts.jobs().as_str()), (1, 3, "a: 1, b: 2"));
        assert_eq!(counts.ended_jobs, BTreeSet::from(["b".to_owned()]));
    }
}
