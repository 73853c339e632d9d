//! The faults there are, and in which order a seed lets them come.

use std::collections::BTreeMap;
use std::fmt;

use super::dice::Dice;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL to a processor in the middle of work; another takes its place.
    Kill,
    /// SIGTERM to a processor in the middle of work; another takes its place.
    Stop,
    /// SIGSTOP to a processor for a while, at times past its session's end, then SIGCONT.
    Freeze,
    /// One more member joins the group and leaves again, politely or not.
    Guest,
    /// The answers to some inserts are lost after they were applied.
    LoseAnswers,
    /// Nobody gets through to ClickHouse.
    CloseDoor,
    /// Inserts stand before ClickHouse for a while.
    HoldInserts,
    /// SIGKILL to ClickHouse, and a start.
    EngineKill,
    /// ClickHouse stands still.
    EnginePause,
    /// The broker stands still.
    BrokerPause,
    /// SIGKILL to the broker, and a start.
    BrokerKill,
    /// SIGKILL to the registry, and a start.
    RegistryKill,
    /// The registry answers 500 or 429 to whoever starts, for a while.
    RegistryErrors,
    /// The registry answers nothing to whoever starts, for a while.
    RegistryHang,
    /// The disk under ClickHouse is full for a while.
    DiskFull,
    /// The topic gets one more partition.
    Grow,
    /// Records are deleted from the log before the group has processed them.
    Expire,
    /// The topic is deleted and made anew.
    MakeAnew,
    /// All processors stop, lower positions are committed by somebody else, processors start.
    Reset,
    /// Lower positions are committed by somebody else under the live group.
    Move,
}

impl Kind {
    /// All of them, with how often each comes compared with the others.
    pub(super) const ALL: [(Self, usize); 20] = [
        (Self::Kill, 6),
        (Self::Stop, 4),
        (Self::Freeze, 3),
        (Self::Guest, 3),
        (Self::LoseAnswers, 5),
        (Self::CloseDoor, 4),
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
        (Self::MakeAnew, 1),
        (Self::Reset, 2),
        (Self::Move, 1),
    ];

    /// How often it comes in a run at most: what destroys the log is to destroy little of it.
    fn most(self) -> u32 {
        match self {
            Self::Grow => 3,
            Self::Expire => 4,
            Self::MakeAnew => 2,
            _ => u32::MAX,
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(kind, _)| kind).find(|kind| kind.name() == name)
    }

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Freeze => "freeze",
            Self::Guest => "guest",
            Self::LoseAnswers => "lose_answers",
            Self::CloseDoor => "close_door",
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
            Self::MakeAnew => "make_anew",
            Self::Reset => "reset",
            Self::Move => "move",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An endless order: rounds in which each kind has its share, each round shuffled.
#[derive(Debug)]
pub(super) struct Deck {
    dice: Dice,
    cards: Vec<Kind>,
    drawn: BTreeMap<Kind, u32>,
    /// Kinds that cannot come about here.
    without: Vec<Kind>,
}

impl Deck {
    pub(super) fn new(seed: u64, without: Vec<Kind>) -> Self {
        let dice = Dice::new(seed, 3);
        Self { dice, cards: Vec::new(), drawn: BTreeMap::new(), without }
    }

    /// The next fault.
    pub(super) fn draw(&mut self) -> Kind {
        loop {
            if self.cards.is_empty() {
                let share = |(kind, share): (Kind, usize)| std::iter::repeat_n(kind, share);
                self.cards = Kind::ALL.into_iter().flat_map(share).collect();
                self.dice.shuffle(&mut self.cards);
            }
            let kind = self.cards.pop().expect("a deck has cards");
            let drawn = self.drawn.entry(kind).or_default();
            if *drawn < kind.most() && !self.without.contains(&kind) {
                *drawn += 1;
                return kind;
            }
        }
    }
}
