//! The medium through which a visitor arrived, and the origin that has it.

use std::sync::Arc;

/// How a visitor gets from the origin to the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Medium {
    /// Unknown: a privacy rule removed the referrer, or it is not an address.
    #[default]
    Unknown,
    /// The click names no origin.
    Direct,
    /// From another page of the same host.
    Internal,
    /// A link on a page of another kind.
    Referral,
    /// A search engine.
    Search,
    /// A social network.
    Social,
    /// A site of videos.
    Video,
    /// A mail.
    Email,
    /// An assistant such as ChatGPT.
    AiAssistant,
    /// A message from one person to another.
    Messaging,
    /// A shop.
    Shopping,
    /// A network of advertisements.
    Display,
}

impl Medium {
    /// The media that a table may name.
    pub(super) const OF_TABLES: [Self; 9] = [
        Self::Search,
        Self::Social,
        Self::Video,
        Self::Email,
        Self::AiAssistant,
        Self::Messaging,
        Self::Shopping,
        Self::Display,
        Self::Referral,
    ];

    /// The value in the table; empty is unknown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Direct => "direct",
            Self::Internal => "internal",
            Self::Referral => "referral",
            Self::Search => "search",
            Self::Social => "social",
            Self::Video => "video",
            Self::Email => "email",
            Self::AiAssistant => "ai_assistant",
            Self::Messaging => "messaging",
            Self::Shopping => "shopping",
            Self::Display => "display",
        }
    }
}

/// Where a visitor came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its name, such as `Facebook`; empty for none.
    pub(super) source: Arc<str>,
    /// How a visitor gets from there to a link.
    pub(super) medium: Medium,
}

impl Origin {
    /// An origin that is in no table, by its own name.
    pub(super) fn unknown(name: &str) -> Self {
        Self { source: name.into(), medium: Medium::Referral }
    }
}
