//! The kinds of machine. Every click is kept; the class only names.

/// Kind of machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BotClass {
    /// A person, as far as the rules can tell.
    #[default]
    None,
    /// A crawler that declares itself, of any purpose but those below.
    DeclaredCrawler,
    /// Shows a link's page to those who read a message.
    LinkPreview,
    /// Checks whether a page is up, or fast.
    Monitor,
    /// A programming library, a command-line client or another program that is no browser.
    HttpLibrary,
    /// Reads for a language model, or for a person who asks one.
    AiAgent,
    /// A browser that fetches before anyone clicks.
    Prefetch,
    /// A part of a page, such as an image: the page or message around it was opened, not the link.
    Subresource,
    /// Requested the head only, as previews do, with a browser's name or not.
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

    /// The text in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::DeclaredCrawler => "declared_crawler",
            Self::LinkPreview => "link_preview",
            Self::Monitor => "monitor",
            Self::HttpLibrary => "http_library",
            Self::AiAgent => "ai_agent",
            Self::Prefetch => "prefetch",
            Self::Subresource => "subresource",
            Self::Head => "head",
            Self::EmptyAgent => "empty_agent",
            Self::StrippedMachine => "stripped_machine",
        }
    }
}
