//! The clicks of the lines of enrichment.

use super::profile::{NARROW, Profile, WIDE};

/// Clicks, by how often a user agent is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One user agent in 20 is new.
    Usual,
    /// One in 100.
    Hot,
    /// Those of the wide profile.
    Wide,
}

impl Workload {
    /// All, in the order of their lines.
    pub const ALL: [Self; 3] = [Self::Usual, Self::Hot, Self::Wide];

    /// The name of its line.
    pub const fn line(self) -> &'static str {
        match self {
            Self::Usual => "enrich_vs_naive",
            Self::Hot => "enrich_hot_vs_naive",
            Self::Wide => "enrich_vs_naive_wide",
        }
    }

    /// The profile of the generator.
    pub fn profile(self) -> &'static Profile {
        match self {
            Self::Usual | Self::Hot => NARROW,
            Self::Wide => WIDE,
        }
    }

    /// Clicks per thousand with a user agent that no other click has. Some of the generator's own agents
    /// are new, too; the program prints the share of all new ones.
    pub fn fresh(self) -> u64 {
        match self {
            Self::Usual => 50,
            Self::Hot => 5,
            Self::Wide => 0,
        }
    }
}
