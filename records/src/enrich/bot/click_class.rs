//! The class of a click, by its user agent and by how it was requested.

use schemas::{AgentKind, Method, RawClick};

use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::keywords::contains_ignore_case;
use crate::enrich::brands::Brand;
use crate::enrich::user_agent::Agent;

/// Classifies one click; the first rule that holds decides.
pub(crate) fn classify_click(
    click: &RawClick<'_>,
    agent: &Agent,
    brand: Option<&Brand>,
) -> BotClass {
    let purpose = click.purpose.unwrap_or_default();
    let has_no_agent = click.user_agent.unwrap_or_default().trim().is_empty();
    if agent.bot.is_bot() {
        agent.bot
    } else if brand.is_some_and(Brand::is_headless) {
        BotClass::DeclaredCrawler
    } else if ["prefetch", "preview"].iter().any(|word| contains_ignore_case(purpose, word)) {
        BotClass::Prefetch
    } else if click.sec_fetch_dest.is_some_and(is_part_of_a_page) {
        BotClass::Subresource
    } else if click.method == Method::Head {
        BotClass::Head
    } else if has_no_agent && !click.identifiers_stripped {
        BotClass::EmptyAgent
    } else {
        of_stripped(click.agent_kind)
    }
}

/// Whether a `Sec-Fetch-Dest` is that of a part of a page. `document` and the frames are pages, `empty`
/// is a request of a script or a download, and an unknown value may be anything.
fn is_part_of_a_page(destination: &str) -> bool {
    const PARTS: [&str; 12] = [
        "audio",
        "audioworklet",
        "font",
        "image",
        "manifest",
        "paintworklet",
        "report",
        "script",
        "style",
        "track",
        "video",
        "xslt",
    ];
    PARTS.contains(&destination)
}

/// The class of an agent that a privacy rule removed.
fn of_stripped(kind: AgentKind) -> BotClass {
    match kind {
        AgentKind::DeclaredMachine => BotClass::StrippedMachine,
        AgentKind::None => BotClass::EmptyAgent,
        AgentKind::Unknown | AgentKind::Browser | AgentKind::Other => BotClass::None,
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
            (with("Claude-User/1.0"), BotClass::AiAgent),
            (with("Claude-SearchBot/1.0"), BotClass::AiCrawler),
            (with("PerplexityBot/1.0"), BotClass::AiCrawler),
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
            assert_eq!(classify_click(&click, &agent, None), expected, "{:?}", click.user_agent);
        }
    }

    #[test]
    fn x14_a_part_of_a_page_is_a_subresource_and_a_page_is_not() {
        let browser = Agent::of(CHROME, &RuleSet::default());
        for (destination, class) in [
            ("image", BotClass::Subresource),
            ("style", BotClass::Subresource),
            ("script", BotClass::Subresource),
            ("video", BotClass::Subresource),
            ("document", BotClass::None),
            ("iframe", BotClass::None),
            ("empty", BotClass::None),
            ("later-value", BotClass::None),
            ("", BotClass::None),
        ] {
            let click = RawClick {
                method: Method::Get,
                user_agent: Some(CHROME),
                sec_fetch_dest: Some(destination),
                ..RawClick::new(uuid::Uuid::nil(), 0, "a")
            };
            assert_eq!(classify_click(&click, &browser, None), class, "{destination}");
        }
    }

    #[test]
    fn a_headless_brand_is_a_machine() {
        let browser = Agent::of(CHROME, &RuleSet::default());
        let click = RawClick { method: Method::Get, ..RawClick::new(uuid::Uuid::nil(), 0, "a") };
        let click = RawClick { user_agent: Some(CHROME), ..click };
        for (hint, class) in [
            (r#""HeadlessChrome";v="131", "Chromium";v="131""#, BotClass::DeclaredCrawler),
            (r#""Brave";v="131", "Chromium";v="131""#, BotClass::None),
        ] {
            let brand = Brand::of(hint);
            assert_eq!(classify_click(&click, &browser, brand.as_ref()), class, "{hint}");
        }
    }

    #[test]
    fn u15_a_machine_whose_agent_was_removed_is_not_a_person() {
        let stripped = RawClick {
            method: Method::Get,
            identifiers_stripped: true,
            ..RawClick::new(uuid::Uuid::nil(), 0, "a")
        };
        for (kind, class) in [
            (AgentKind::Unknown, BotClass::None),
            (AgentKind::None, BotClass::EmptyAgent),
            (AgentKind::Browser, BotClass::None),
            (AgentKind::DeclaredMachine, BotClass::StrippedMachine),
            (AgentKind::Other, BotClass::None),
        ] {
            let click = RawClick { agent_kind: kind, ..stripped };
            let agent = Agent::of("", &RuleSet::default());
            assert_eq!(classify_click(&click, &agent, None), class, "{kind:?}");
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
