//! The class of a click, by its user agent and by how it was requested.

use schemas::{Method, RawClick};

use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::keywords::contains_ignore_case;
use crate::enrich::user_agent::Agent;

/// Classifies one click; the first rule that holds decides.
pub(crate) fn classify_click(click: &RawClick<'_>, agent: &Agent) -> BotClass {
    let purpose = click.purpose.unwrap_or_default();
    let has_no_agent = click.user_agent.unwrap_or_default().trim().is_empty();
    if agent.bot.is_bot() {
        agent.bot
    } else if ["prefetch", "preview"].iter().any(|word| contains_ignore_case(purpose, word)) {
        BotClass::Prefetch
    } else if click.method == Method::Head {
        BotClass::Head
    } else if has_no_agent && !click.identifiers_stripped {
        BotClass::EmptyAgent
    } else {
        BotClass::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::rule_set::{RuleSet, RuleTable};

    const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

    #[test]
    fn each_class_is_recognised() {
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
            let agent = Agent::of(click.user_agent.unwrap_or_default(), &RuleSet::default());
            assert_eq!(classify_click(&click, &agent), expected, "{:?}", click.user_agent);
        }
    }

    #[test]
    fn the_list_gives_name_and_class() {
        let list =
            br#"[{"pattern": "Ursa\\/", "tags": ["monitoring"]}, {"pattern": "[uU]rsaMinor"}]"#;
        let rules = RuleSet::default().with(RuleTable::Crawlers, list.to_vec()).unwrap();
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
