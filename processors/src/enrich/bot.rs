//! Whether a click came from a machine, and of what kind. Every click is kept; this only names.

pub mod crawlers;
pub mod keywords;

use schemas::{Method, RawClick};

use crate::enrich::bot::crawlers::Crawlers;

use crate::enrich::user_agent::Agent;

/// Kind of machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BotClass {
    /// As far as we can tell, a person.
    #[default]
    None,
    /// Says so itself: a crawler of any purpose but those below.
    DeclaredCrawler,
    /// Shows a link's page to those who read a message.
    LinkPreview,
    /// Looks whether a page is up, or fast.
    Monitor,
    /// A programming library, a command-line client or another program that is no browser.
    HttpLibrary,
    /// Reads for a language model, or for whoever asks one.
    AiAgent,
    /// A browser that fetches before anyone clicks.
    Prefetch,
    /// Asked for the head only, as previews do, with a browser's name or not.
    Head,
    /// No user agent at all, and no privacy rule removed it.
    EmptyAgent,
}

/// What a machine's device is called.
pub(super) const DEVICE: &str = "bot";

/// What is known of a user agent before it is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bots<'r> {
    /// The list of those that have a name.
    pub(super) crawlers: Option<&'r Crawlers>,
    /// Its name, where the rules for user agents know it for a machine.
    pub(super) spider: Option<&'r str>,
    /// Whether those rules know neither a system nor a device in it.
    pub(super) nobody: bool,
}

impl Bots<'_> {
    /// What a user agent says of itself: the list first, for it has names and purposes, then
    /// uap-core's own judgement, then words that no browser says.
    pub(super) fn judge(self, user_agent: &str) -> (BotClass, String) {
        if user_agent.trim().is_empty() {
            return (BotClass::None, String::new());
        }
        let listed = self.crawlers.and_then(|crawlers| crawlers.find(user_agent));
        if let Some((class, name)) = listed {
            return (class, name.to_owned());
        }
        let said = keywords::said(user_agent, self.nobody);
        match (self.spider, said) {
            (Some(name), said) => (said.unwrap_or(BotClass::DeclaredCrawler), name.to_owned()),
            (None, Some(class)) => (class, keywords::name(user_agent)),
            (None, None) => (BotClass::None, String::new()),
        }
    }
}

impl BotClass {
    /// Judges one click; the first rule that holds wins.
    pub fn of(click: &RawClick<'_>, agent: &Agent) -> Self {
        let purpose = click.purpose.unwrap_or_default();
        let nameless = click.user_agent.unwrap_or_default().trim().is_empty();
        if agent.bot.is_bot() {
            agent.bot
        } else if has(purpose, "prefetch") || has(purpose, "preview") {
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
            Self::LinkPreview => "link_preview",
            Self::Monitor => "monitor",
            Self::HttpLibrary => "http_library",
            Self::AiAgent => "ai_agent",
            Self::Prefetch => "prefetch",
            Self::Head => "head",
            Self::EmptyAgent => "empty_agent",
        }
    }
}

/// Whether `text` contains `word`, which is in small letters, however it is written.
fn has(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::rule_set::{Rules, Table};

    const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

    #[test]
    fn each_kind_is_named() {
        let plain = RawClick { method: Method::Get, ..RawClick::new(uuid::Uuid::nil(), 0, "a") };
        let with = |agent| RawClick { user_agent: Some(agent), ..plain };
        let cases = [
            (with(CHROME), BotClass::None),
            (with("Mozilla/5.0 (compatible; bingbot/2.0)"), BotClass::DeclaredCrawler),
            (with("Slackbot-LinkExpanding 1.0"), BotClass::LinkPreview),
            (with("facebookexternalhit/1.1"), BotClass::LinkPreview),
            (with("SomeUptimeMonitor/2"), BotClass::Monitor),
            (with("ChatGPT-User/1.0"), BotClass::AiAgent),
            (with("curl/8.5.0"), BotClass::HttpLibrary),
            (with("python-requests/2.32"), BotClass::HttpLibrary),
            (RawClick { purpose: Some("Prefetch;prerender"), ..with(CHROME) }, BotClass::Prefetch),
            (RawClick { method: Method::Head, ..with(CHROME) }, BotClass::Head),
            (plain, BotClass::EmptyAgent),
            (with(""), BotClass::EmptyAgent),
            (RawClick { identifiers_stripped: true, ..plain }, BotClass::None),
        ];
        for (click, expected) in cases {
            let agent = Agent::of(click.user_agent.unwrap_or_default(), &Rules::default());
            assert_eq!(BotClass::of(&click, &agent), expected, "{:?}", click.user_agent);
        }
    }

    #[test]
    fn the_list_gives_name_and_purpose() {
        let list =
            br#"[{"pattern": "Ursa\\/", "tags": ["monitoring"]}, {"pattern": "[uU]rsaMinor"}]"#;
        let rules = Rules::default().with(Table::Crawlers, list.to_vec()).unwrap();
        for (text, class, name) in [
            ("Ursa/1.0", BotClass::Monitor, "Ursa"),
            ("ursaMinor Ursa/1.0", BotClass::DeclaredCrawler, "ursaMinor"),
            ("Other-Bot/1.0", BotClass::DeclaredCrawler, "Other-Bot"),
            (CHROME, BotClass::None, ""),
        ] {
            let agent = Agent::of(text, &rules);
            assert_eq!((agent.bot, agent.bot_name.as_str()), (class, name), "{text}");
        }
    }
}
