//! A job as the table of jobs holds it. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It is stored, and no process has run it yet.
    Planned,
    /// A process prepares it, or prepares to resume it.
    Planning,
    /// A process runs it.
    Running,
    /// It has done all of its work, and cannot be resumed.
    Done,
    /// An operator or a signal stopped it; it can be resumed.
    Cancelled,
    /// An error stopped it; it can be resumed.
    Failed,
    /// It has done all of its work, and the verification of the result was stopped; it can be resumed.
    Unverified,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Planned,
        Self::Planning,
        Self::Running,
        Self::Done,
        Self::Cancelled,
        Self::Failed,
        Self::Unverified,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Unverified => "unverified",
        }
    }

    /// The state of this name; `None` for one that this version does not know.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the job has ended; one that was cancelled, failed or is unverified can be resumed.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Planned | Self::Planning | Self::Running => false,
            Self::Done | Self::Cancelled | Self::Failed | Self::Unverified => true,
        }
    }

    /// Whether a process works on a job of this state, unless that process is silent.
    pub fn has_process(self) -> bool {
        match self {
            Self::Planning | Self::Running => true,
            Self::Planned | Self::Done | Self::Cancelled | Self::Failed | Self::Unverified => false,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Version of a job: its upper half grows with each change, its lower half names the process that wrote
/// it. Versions that two processes write after one other differ, and every reader agrees which is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobVersion(pub u64);

impl JobVersion {
    /// The first version.
    pub fn first(owner: u32) -> Self {
        Self((1 << 32) | u64::from(owner))
    }

    /// The version after this one.
    pub fn next(self, owner: u32) -> Self {
        Self((((self.0 >> 32) + 1) << 32) | u64::from(owner))
    }

    /// The process that wrote it, by the random number that the process chose.
    pub fn owner(self) -> u32 {
        let [_, _, _, _, owner @ ..] = self.0.to_be_bytes();
        u32::from_be_bytes(owner)
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// UUID v7.
    pub id: String,
    /// Version of these values.
    pub version: JobVersion,
    /// What it does: `redrive` or `replay`.
    pub kind: String,
    /// How far it is.
    pub state: JobState,
    /// What it does, as JSON.
    pub plan: String,
    /// Counts by name, such as `selected` and `sent`.
    pub counts: BTreeMap<String, u64>,
    /// User that started it.
    pub actor: String,
    /// Host and process that wrote this version.
    pub host: String,
    /// Why it ended; empty before.
    pub message: String,
    /// When it was planned, microseconds since 1970, by the server's clock.
    pub created_at_us: i64,
    /// When this version was written, likewise; of a version that is not stored yet, when the one before
    /// was.
    pub updated_at_us: i64,
}

#[cfg(test)]
impl Job {
    /// A job of a test: `j`, at the start of time.
    pub(crate) fn example(kind: &str, state: JobState, plan: &str) -> Self {
        Self {
            id: "j".to_owned(),
            version: JobVersion::first(1),
            kind: kind.to_owned(),
            state,
            plan: plan.to_owned(),
            counts: [].into(),
            actor: String::new(),
            host: "h:1".to_owned(),
            message: String::new(),
            created_at_us: 0,
            updated_at_us: 0,
        }
    }
}

/// A job, and the server's time of the read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJob {
    /// Its newest version.
    pub job: Job,
    /// Microseconds since 1970.
    pub now_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_states_are_those_of_the_migration() {
        let migration = include_str!("../../migrations/0008_replays.sql");
        let names = JobState::ALL.map(JobState::name).join(", ");
        assert!(migration.contains(&format!("state '{names}'")), "{names}");
        for state in JobState::ALL {
            assert_eq!(JobState::named(state.name()), Some(state));
        }
        assert_eq!(JobState::named("paused"), None);
    }

    #[test]
    fn a_version_is_newer_by_its_sequence_and_names_its_owner() {
        let first = JobVersion::first(u32::MAX);
        let next = first.next(7);
        assert!(next > first);
        assert_eq!((first.owner(), next.owner()), (u32::MAX, 7));
        assert_ne!(first.next(1), first.next(2));
        assert_eq!(next.next(7).0 >> 32, 3);
    }
}
