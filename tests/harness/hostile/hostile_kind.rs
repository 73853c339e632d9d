//! The kinds of hostile input.

use std::fmt;

use crate::seeded_random::SeededRandom;

/// A kind of hostile input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostileKind {
    /// Records of clicks, in batches of any codec, some of them damaged.
    Records,
    /// Batches at the bounds of their size, and bombs.
    Batches,
    /// Records of links.
    Links,
    /// Requests to the public port.
    Requests,
    /// Bodies of the collector.
    Bodies,
    /// Connections that stall.
    Stalls,
    /// A producer that stops, and starts with a damaged outbox.
    Outbox,
}

impl HostileKind {
    const ALL: [Self; 7] = [
        Self::Records,
        Self::Batches,
        Self::Links,
        Self::Requests,
        Self::Bodies,
        Self::Stalls,
        Self::Outbox,
    ];
    /// The number of kinds in a round.
    const OF_ROUND: usize = 4;

    /// The kinds of a round; without records, all others.
    pub(super) fn of_round(random: &mut SeededRandom, with_records: bool) -> Vec<Self> {
        let mut kinds = Self::ALL.to_vec();
        kinds.retain(|kind| with_records || !matches!(kind, Self::Records | Self::Batches));
        random.shuffle(&mut kinds);
        if with_records {
            kinds.truncate(Self::OF_ROUND);
        }
        kinds
    }
}

impl fmt::Display for HostileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Records => "records",
            Self::Batches => "batches",
            Self::Links => "links",
            Self::Requests => "requests",
            Self::Bodies => "bodies",
            Self::Stalls => "stalls",
            Self::Outbox => "outbox",
        })
    }
}
