//! The kinds of machine. Every click is kept; the class is only a label.

/// Kind of machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BotClass {
    /// A person, as far as the rules can tell.
    #[default]
    None,
    /// A crawler that declares itself, for any purpose except those below.
    DeclaredCrawler,
    /// Shows a preview of a link's page in a message.
    LinkPreview,
    /// Checks whether a page is available, or how fast it is.
    Monitor,
    /// A programming library, a command-line client or another program that is not a browser.
    HttpLibrary,
    /// Reads for a language model: its training, or the index that it searches.
    AiCrawler,
    /// Reads for a person who asks a language model, when that person asks.
    AiAgent,
    /// A browser that fetches before a click.
    Prefetch,
    /// A part of a page, such as an image: the page or message around it was opened, not the link.
    Subresource,
    /// Requested only the head, as previews do, with the name of a browser or another.
    Head,
    /// No user agent at all.
    EmptyAgent,
    /// A privacy rule removed the agent, which declared a machine.
    StrippedMachine,
}

impl BotClass {
    /// Whether it is a machine at all.
    pub fn is_bot(self) -> bool {
        self != Self::None
    }

    /// The value in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::DeclaredCrawler => "declared_crawler",
            Self::LinkPreview => "link_preview",
            Self::Monitor => "monitor",
            Self::HttpLibrary => "http_library",
            Self::AiCrawler => "ai_crawler",
            Self::AiAgent => "ai_agent",
            Self::Prefetch => "prefetch",
            Self::Subresource => "subresource",
            Self::Head => "head",
            Self::EmptyAgent => "empty_agent",
            Self::StrippedMachine => "stripped_machine",
        }
    }
}
