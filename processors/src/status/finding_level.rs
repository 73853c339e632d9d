//! How urgent a finding is. Pure.

/// How urgent it is, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingLevel {
    /// It is wrong, and its alert pages.
    Wrong,
    /// A part did not answer, so that it is not known.
    Unknown,
    /// It is wrong and can wait: its alert opens a ticket.
    Ticket,
}

impl FindingLevel {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
            Self::Ticket => "ticket",
        }
    }
}
