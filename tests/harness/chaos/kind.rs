//! The faults there are, and in which order a seed lets them come.

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
    /// All processors stop, lower positions are committed by somebody else, processors start.
    Reset,
    /// Lower positions are committed by somebody else under the live group.
    Move,
}

impl Kind {
    /// All of them, with how often each comes compared with the others.
    pub(super) const ALL: [(Self, usize); 14] = [
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
        (Self::Reset, 2),
        (Self::Move, 1),
    ];

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
}

impl Deck {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed, 3), cards: Vec::new() }
    }

    /// The next fault.
    pub(super) fn draw(&mut self) -> Kind {
        if self.cards.is_empty() {
            let share = |(kind, share): (Kind, usize)| std::iter::repeat_n(kind, share);
            self.cards = Kind::ALL.into_iter().flat_map(share).collect();
            self.dice.shuffle(&mut self.cards);
        }
        self.cards.pop().expect("a deck has cards")
    }
}
