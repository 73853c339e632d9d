//! The kinds of faults, and their order, which follows from a seed.

use std::collections::BTreeMap;
use std::fmt;

use crate::seeded_random::SeededRandom;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// SIGKILL to a processor in the middle of work; another replaces it.
    Kill,
    /// SIGTERM to a processor in the middle of work; another replaces it.
    Stop,
    /// SIGSTOP to a processor for a while, sometimes longer than its session timeout, then SIGCONT.
    Freeze,
    /// One more member joins the group and leaves, by SIGTERM or SIGKILL.
    ExtraMember,
    /// The responses to some applied inserts are lost.
    LoseAnswers,
    /// Connections to ClickHouse are refused.
    RefuseConnections,
    /// Inserts are held before ClickHouse for a while.
    HoldInserts,
    /// SIGKILL to ClickHouse, then a restart.
    EngineKill,
    /// ClickHouse is paused.
    EnginePause,
    /// The broker is paused.
    BrokerPause,
    /// SIGKILL to the broker, then a restart.
    BrokerKill,
    /// SIGKILL to the registry, then a restart.
    RegistryKill,
    /// The registry answers 500 or 429 to a processor that starts, for a while.
    RegistryErrors,
    /// The registry does not answer a processor that starts, for a while.
    RegistryHang,
    /// The disk under ClickHouse is full for a while.
    DiskFull,
    /// The topic gets one more partition.
    Grow,
    /// Records are deleted from the log before the group has processed them.
    Expire,
    /// The topic is deleted and recreated.
    Recreate,
    /// All processors stop, another client commits lower positions, processors start.
    Reset,
    /// Another client commits lower positions while the group runs.
    Move,
}

impl FaultKind {
    /// All of them with their relative frequencies.
    pub(super) const ALL: [(Self, usize); 20] = [
        (Self::Kill, 6),
        (Self::Stop, 4),
        (Self::Freeze, 3),
        (Self::ExtraMember, 3),
        (Self::LoseAnswers, 5),
        (Self::RefuseConnections, 4),
        (Self::HoldInserts, 3),
        (Self::EngineKill, 3),
        (Self::EnginePause, 2),
        (Self::BrokerPause, 2),
        (Self::BrokerKill, 1),
        (Self::RegistryKill, 1),
        (Self::RegistryErrors, 2),
        (Self::RegistryHang, 1),
        (Self::DiskFull, 2),
        (Self::Grow, 1),
        (Self::Expire, 1),
        (Self::Recreate, 1),
        (Self::Reset, 2),
        (Self::Move, 1),
    ];

    /// The largest number in a run: faults that destroy the log must destroy little of it.
    fn most(self) -> u32 {
        match self {
            Self::Grow => 3,
            Self::Expire => 4,
            Self::Recreate => 2,
            _ => u32::MAX,
        }
    }

    /// The fault with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(kind, _)| kind).find(|kind| kind.name() == name)
    }

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Freeze => "freeze",
            Self::ExtraMember => "extra_member",
            Self::LoseAnswers => "lose_answers",
            Self::RefuseConnections => "refuse_connections",
            Self::HoldInserts => "hold_inserts",
            Self::EngineKill => "engine_kill",
            Self::EnginePause => "engine_pause",
            Self::BrokerPause => "broker_pause",
            Self::BrokerKill => "broker_kill",
            Self::RegistryKill => "registry_kill",
            Self::RegistryErrors => "registry_errors",
            Self::RegistryHang => "registry_hang",
            Self::DiskFull => "disk_full",
            Self::Grow => "grow",
            Self::Expire => "expire",
            Self::Recreate => "recreate",
            Self::Reset => "reset",
            Self::Move => "move",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An endless order: shuffled rounds in which each kind has its share.
#[derive(Debug)]
pub(super) struct FaultOrder {
    random: SeededRandom,
    remaining: Vec<FaultKind>,
    drawn: BTreeMap<FaultKind, u32>,
    /// Kinds that this stack does not support.
    without: Vec<FaultKind>,
}

impl FaultOrder {
    pub(super) fn new(seed: u64, without: Vec<FaultKind>) -> Self {
        let random = SeededRandom::stream(seed, 3);
        Self { random, remaining: Vec::new(), drawn: BTreeMap::new(), without }
    }

    /// The next fault.
    pub(super) fn next(&mut self) -> FaultKind {
        loop {
            if self.remaining.is_empty() {
                let share = |(kind, share): (FaultKind, usize)| std::iter::repeat_n(kind, share);
                self.remaining = FaultKind::ALL.into_iter().flat_map(share).collect();
                self.random.shuffle(&mut self.remaining);
            }
            let kind = self.remaining.pop().expect("an order has faults");
            let drawn = self.drawn.entry(kind).or_default();
            if *drawn < kind.most() && !self.without.contains(&kind) {
                *drawn += 1;
                return kind;
            }
        }
    }
}
