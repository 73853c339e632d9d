//! Whether a click came from a machine, and of what kind. Every click is kept; this only names.

use schemas::{Method, RawClick};

use super::Agent;

/// Kind of machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BotClass {
    /// As far as we can tell, a person.
    #[default]
    None,
    /// Says so itself: a crawler, a monitor, a preview.
    DeclaredCrawler,
    /// A programming library or command-line client.
    HttpLibrary,
    /// A browser that fetches before anyone clicks.
    Prefetch,
    /// Asked for the head only, as previews do, with a browser's name or not.
    Head,
    /// No user agent at all, and no privacy rule removed it.
    EmptyAgent,
}

/// Beginnings of libraries' names. A browser's agent starts with `Mozilla/` or `Opera/`.
const LIBRARIES: &[&str] = &[
    "aiohttp",
    "apache-httpclient",
    "axios",
    "curl",
    "go-http-client",
    "guzzlehttp",
    "java/",
    "libwww-perl",
    "node-fetch",
    "okhttp",
    "php",
    "postmanruntime",
    "python",
    "ruby",
    "wget",
];

/// Words by which programs declare themselves, where no list of agents knows them.
const DECLARATIONS: &[&str] = &[
    "bot",
    "crawl",
    "spider",
    "slurp",
    "feed",
    "preview",
    "monitor",
    "linkexpanding",
    "externalhit",
];

impl BotClass {
    /// What a user agent of that device says of itself.
    pub(super) fn declared(user_agent: &str, device: &str) -> Self {
        let text = user_agent.to_ascii_lowercase();
        if device == "bot" || DECLARATIONS.iter().any(|word| text.contains(word)) {
            Self::DeclaredCrawler
        } else if LIBRARIES.iter().any(|name| text.starts_with(name)) {
            Self::HttpLibrary
        } else {
            Self::None
        }
    }

    /// Judges one click; the first rule that holds wins.
    pub fn of(click: &RawClick<'_>, agent: &Agent) -> Self {
        let purpose = click.purpose.map(str::to_ascii_lowercase).unwrap_or_default();
        let nameless = click.user_agent.unwrap_or_default().trim().is_empty();
        if agent.bot.is_bot() {
            agent.bot
        } else if purpose.contains("prefetch") || purpose.contains("preview") {
            Self::Prefetch
        } else if click.method == Method::Head {
            Self::Head
        } else if nameless && !click.identifiers_stripped {
            Self::EmptyAgent
        } else {
            Self::None
        }
    }

    /// Whether it is a machine at all.
    pub fn is_bot(self) -> bool {
        self != Self::None
    }

    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::DeclaredCrawler => "declared_crawler",
            Self::HttpLibrary => "http_library",
            Self::Prefetch => "prefetch",
            Self::Head => "head",
            Self::EmptyAgent => "empty_agent",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named() {
        const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
        let plain = RawClick { method: Method::Get, ..RawClick::new(uuid::Uuid::nil(), 0, "a") };
        let with = |agent| RawClick { user_agent: Some(agent), ..plain };
        let cases = [
            (with(CHROME), BotClass::None),
            (with("Mozilla/5.0 (compatible; bingbot/2.0)"), BotClass::DeclaredCrawler),
            (with("Slackbot-LinkExpanding 1.0"), BotClass::DeclaredCrawler),
            (with("facebookexternalhit/1.1"), BotClass::DeclaredCrawler),
            (with("curl/8.5.0"), BotClass::HttpLibrary),
            (with("python-requests/2.32"), BotClass::HttpLibrary),
            (RawClick { purpose: Some("prefetch;prerender"), ..with(CHROME) }, BotClass::Prefetch),
            (RawClick { method: Method::Head, ..with(CHROME) }, BotClass::Head),
            (plain, BotClass::EmptyAgent),
            (with(""), BotClass::EmptyAgent),
            (RawClick { identifiers_stripped: true, ..plain }, BotClass::None),
        ];
        for (click, expected) in cases {
            let agent = Agent::of(click.user_agent.unwrap_or_default());
            assert_eq!(BotClass::of(&click, &agent), expected, "{:?}", click.user_agent);
        }
    }
}
