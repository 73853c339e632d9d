//! Whether the case of letters distinguishes slugs.
//!
//! Pure. A link keeps the spelling that it was made with, and a click that of its request.

/// Whether slugs that differ in case alone are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SlugCase {
    /// They are two links
    #[default]
    Sensitive,
    /// They are one link; a second one is refused
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
