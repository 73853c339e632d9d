//! Whether slugs are case-sensitive.
//!
//! Pure. A link keeps the spelling with which it was created, and a click the spelling of its request.

/// Whether slugs that differ only in case are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SlugCase {
    /// Slugs that differ only in case are two links
    #[default]
    Sensitive,
    /// Slugs that differ only in case are one link; a second one is refused
    Insensitive,
}

impl SlugCase {
    /// Whether both slugs name the same link.
    pub fn same(self, a: &str, b: &str) -> bool {
        match self {
            Self::Sensitive => a == b,
            Self::Insensitive => a.eq_ignore_ascii_case(b),
        }
    }
}
