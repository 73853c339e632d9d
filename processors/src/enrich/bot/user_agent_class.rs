//! The class of a user agent, by the text of the header alone.

use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::crawlers::Crawlers;
use crate::enrich::bot::keywords;

/// What the rules know of a user agent before it is classified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BotSignals<'r> {
    /// The list of named crawlers.
    pub(crate) crawlers: Option<&'r Crawlers>,
    /// Its name, where the rules for user agents know it for a machine.
    pub(crate) spider: Option<&'r str>,
    /// Whether those rules know neither a system nor a device in it.
    pub(crate) is_unidentified: bool,
}

impl BotSignals<'_> {
    /// Class and name of a user agent: first the list, which has names and purposes, then the rules
    /// of uap-core, then keywords that no browser sends.
    pub(crate) fn classify(self, user_agent: &str) -> (BotClass, String) {
        if user_agent.trim().is_empty() {
            return (BotClass::None, String::new());
        }
        let listed = self.crawlers.and_then(|crawlers| crawlers.find(user_agent));
        if let Some((class, name)) = listed {
            return (class, name.to_owned());
        }
        let declared = keywords::declared_class(user_agent, self.is_unidentified);
        match (self.spider, declared) {
            (Some(name), class) => (class.unwrap_or(BotClass::DeclaredCrawler), name.to_owned()),
            (None, Some(class)) => (class, keywords::name(user_agent)),
            (None, None) => (BotClass::None, String::new()),
        }
    }
}
