//! Agents that are made from parts, each of which may have a word of a machine.

use super::*;
use crate::enrich::bot::keywords::DECLARATIONS;

const UNKNOWN: BotSignals<'_> =
    BotSignals { crawlers: None, spider: None, is_unidentified: true, is_known_app: false };

fn class(agent: &str) -> BotClass {
    UNKNOWN.classify(agent).0
}

const SYSTEMS: [&str; 10] = [
    "Linux; Android 13; {model}",
    "Linux; Android 9; {model} Build/PPR1.180610.011",
    "Linux; U; Android 4.4.2; {locale}; {model} Build/KOT49H",
    "Linux; Android 12; {model}; wv",
    "iPhone; CPU iPhone OS 17_1 like Mac OS X",
    "iPad; U; CPU OS 9_3 like Mac OS X; {locale}",
    "Windows NT 10.0; Win64; x64",
    "Windows; U; Windows NT 5.1; {locale}; rv:1.9.2",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; CrOS x86_64 14541.0.0",
];
const BROWSERS: [&str; 5] = [
    "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36 {app}",
    "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/99.0.1 Safari/537.36 {app}",
    "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15 {app}",
    "AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 {app}",
    "Gecko/20100101 Firefox/121.0 {app}",
];

/// Fifty agents of browsers with a model, a locale and what follows the browser.
fn browsers(model: &str, locale: &str, app: &str) -> Vec<String> {
    let agents = SYSTEMS.iter().flat_map(|system| {
        BROWSERS.iter().map(move |browser| format!("Mozilla/5.0 ({system}) {browser}"))
    });
    let filled = |agent: String| {
        agent.replace("{model}", model).replace("{locale}", locale).replace("{app}", app)
    };
    agents.map(filled).collect()
}

#[test]
fn f1_no_keyword_in_a_browsers_agent_makes_a_machine() {
    let mut tried = 0;
    for (word, _) in DECLARATIONS {
        let name: String = word[..1].to_uppercase() + &word[1..];
        for agent in [
            browsers("Pixel 7", "en-us", &format!("My{name}App/1.0")),
            browsers("Pixel 7", "en-us", &format!("{name}/3.1")),
            browsers("Pixel 7", "en-us", &format!("Initiator: {word}shop.example {word}")),
            browsers(&format!("Nova {name} 5"), "en-us", ""),
            browsers(word, &format!("en_GB@{word}"), ""),
            browsers("Pixel 7", word, "App/1"),
        ]
        .concat()
        {
            assert_eq!(class(&agent), BotClass::None, "{agent}");
            tried += 1;
        }
    }
    assert!(tried > 10_000, "{tried}");
}

#[test]
fn f2_a_phone_may_have_any_name() {
    let makers = ["CUBOT", "M BOT", "Robotix", "Spider", "Scan Pro", "Feedme", "Crawler", "BOT)"];
    let mut tried = 0;
    for maker in makers {
        for model in ["X", "ECHO 2", "bot 60", "TAB", "bot", "(2024)", "Monitor"] {
            for system in ["Linux; Android 13; {}", "Linux; U; Android 9; de-de; {} Build/PPR1"] {
                let device = system.replace("{}", &format!("{maker} {model}"));
                for agent in [
                    format!(
                        "Mozilla/5.0 ({device}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36"
                    ),
                    format!("Dalvik/2.1.0 ({device})"),
                    format!("Acme/7 ({device})"),
                ] {
                    assert_eq!(class(&agent), BotClass::None, "{agent}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 50, "{tried}");
}

#[test]
fn f3_an_app_that_is_known_or_names_a_phone_is_not_a_machine() {
    let mut tried = 0;
    for name in ["NewsFeed", "Scanner Pro", "PriceCheck", "Fetch", "BabyMonitor", "Archiver", "a"] {
        for phone in [
            "iPhone; iOS 17.1; Scale/3.00",
            "Google Pixel 6; android 13",
            "Android 9; CUBOT ECHO",
            "com.acme.app; build:12; iOS 16.5.0",
            "iPad12,1; iPadOS 17; en_IR@calendar=gregorian",
        ] {
            for agent in [format!("{name}/2.0 ({phone})"), format!("{name} 2.0 ({phone}) X/1")] {
                assert_eq!(class(&agent), BotClass::None, "{agent}");
                tried += 1;
            }
        }
        // The table of sources knows the app.
        let known = BotSignals { is_known_app: true, ..UNKNOWN };
        let agent = format!("[FBAN/{name};FBAV/450.0;FBLC/en_GB;FBDV/SM-G991B;]");
        assert_eq!(known.classify(&agent).0, BotClass::None, "{agent}");
    }
    assert!(tried >= 50, "{tried}");
}

#[test]
fn f4_a_name_after_compatible_is_the_name_of_a_machine() {
    const CHROME: &str = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
    let mut tried = 0;
    for name in ["Orion", "Vega-Reader", "Lyra.Net", "Rigel", "Deneb_Agent", "Spica", "Wapiti"] {
        for (agent, named) in [
            (format!("Mozilla/5.0 (compatible; {name}/1.0)"), name),
            (format!("Mozilla/5.0 (compatible; {name})"), name),
            (format!("Mozilla/4.0 (compatible;{name} v2; support@vega.example)"), name),
            (
                format!(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} (compatible; {name}/2.0)"
                ),
                name,
            ),
            (
                format!("Mozilla/5.0 (Linux; Android 13; Pixel 7) {CHROME} (compatible; {name})"),
                name,
            ),
            (
                format!(
                    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1 (compatible; {name}/1; a@b.example)"
                ),
                name,
            ),
            (
                format!(
                    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; {name}/1.2) Chrome/120.0.0.0 Safari/537.36"
                ),
                name,
            ),
            (
                format!(
                    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko; {name}/1) Chrome/99.0 Safari/537.36"
                ),
                name,
            ),
            (
                format!("Microsoft Office/16.0 (Windows NT 10.0; Microsoft {name} 16.0; Pro)"),
                "Microsoft Office",
            ),
        ] {
            let (class, found) = UNKNOWN.classify(&agent);
            assert!(class.is_bot(), "{agent}");
            assert_eq!(found, named, "{agent}");
            tried += 1;
        }
    }
    assert!(tried >= 50, "{tried}");
}

#[test]
fn f4_a_browser_after_compatible_is_not_a_machine() {
    for agent in [
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; SLCC2)",
        "Mozilla/4.0+(compatible;+MSIE+7.0;+Windows+NT+5.1)",
        "Mozilla/5.0 (compatible; Konqueror/3.5; Linux) KHTML/3.5.5 (like Gecko)",
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Embedded Web Browser from: http://bsalsa.example/; .NET4.0C)",
        "Mozilla/5.0 (compatible; U; ABrowse 0.6; Syllable) AppleWebKit/420+ (KHTML, like Gecko)",
        "Mozilla/5.0 (compatible; SchoolImage; Windows NT 6.3; rv:26.0) Gecko/20100101 Firefox/26.0",
        "Opera/9.80 (Android; Opera Mini/36.2/119.132; U; id) Presto/2.12.423 Version/12.16",
        "MozacFetch/120.0",
    ] {
        assert_eq!(class(agent), BotClass::None, "{agent}");
    }
}

#[test]
fn the_name_of_a_program_decides_its_class() {
    for (agent, expected, name) in [
        ("curl/8.5.0", BotClass::HttpLibrary, "curl"),
        ("Vega/1.0", BotClass::HttpLibrary, "Vega"),
        ("Mozilla/5.0 vega-watch", BotClass::HttpLibrary, "vega-watch"),
        ("my-checker (v2)", BotClass::DeclaredCrawler, "my-checker"),
        ("VegaBot/1.0 (Linux; Android 9)", BotClass::DeclaredCrawler, "VegaBot"),
        ("VegaUptime/1 (+https://vega.example)", BotClass::Monitor, "VegaUptime"),
        ("Vega 3 (reader@vega.example)", BotClass::DeclaredCrawler, "Vega"),
        (
            "Mozilla/5.0 (Linux; Android 9; Nexus 5X Build/MM) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36 (Vega; +https://vega.example)",
            BotClass::DeclaredCrawler,
            "Vega",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X) Word/14.0.0",
            BotClass::HttpLibrary,
            "Microsoft Office",
        ),
        ("42", BotClass::None, ""),
        ("firefox", BotClass::None, ""),
        ("Vega Browser 2.0", BotClass::None, ""),
        ("", BotClass::None, ""),
    ] {
        assert_eq!(UNKNOWN.classify(agent), (expected, name.to_owned()), "{agent}");
    }
}
