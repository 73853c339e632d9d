//! People and bots by real user agents: cases by their ids, lists of other projects, and generated
//! agents.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use harness::rules::{BROWSERS, CRAWLERS, DEVICES, List, MACHINES, pinned};
use records::enrich::Enricher;
use records::enrich::bot::bot_class::BotClass;
use records::enrich::rule_set::RuleSet;
use records::enrich::user_agent::Agent;
use schemas::{Method, RawClick};
use serde::Deserialize;
use uuid::Uuid;

/// Compiled once for all tests of this file.
static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(pinned);

const ANDROID: &str = "Mozilla/5.0 (Linux; Android 13; {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36";
const TABLET: &str = "Mozilla/5.0 (Linux; Android 9; {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.104 Safari/537.36";
const WEB_VIEW: &str = "Mozilla/5.0 (Linux; Android 12; SM-A515F Build/SP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/120.0.0.0 Mobile Safari/537.36 {}";
const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 {}";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 {}";

/// The expected result of an agent: bot class, device, bot name, app.
type Row = (&'static str, String, &'static str, &'static str, &'static str, &'static str);

fn row(
    id: &'static str,
    agent: impl Into<String>,
    [class, device, name, app]: [&'static str; 4],
) -> Row {
    (id, agent.into(), class, device, name, app)
}

/// An agent of a person.
fn person(id: &'static str, agent: impl Into<String>, device: &'static str) -> Row {
    row(id, agent, ["", device, "", ""])
}

/// An agent of a machine.
fn machine(
    id: &'static str,
    agent: impl Into<String>,
    class: &'static str,
    name: &'static str,
) -> Row {
    row(id, agent, [class, "bot", name, ""])
}

fn check(rows: Vec<Row>) {
    let mut enricher = Enricher::new(Arc::clone(&RULES));
    let mut wrong = String::new();
    for (id, agent, class, device, name, app) in rows {
        let click = RawClick {
            user_agent: Some(&agent),
            method: Method::Get,
            ..RawClick::new(Uuid::nil(), 0, "a")
        };
        let found = enricher.enrich(&click);
        let found =
            [found.bot.as_str(), found.agent.device, found.bot_name(), found.arrival.in_app];
        if found != [class, device, name, app] {
            wrong += &format!("{id}: {found:?}, not {:?}: {agent}\n", [class, device, name, app]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn u1_to_u10_and_u22_to_u25_people_are_people() {
    let facebook = "[FBAN/FB4A;FBAV/450.0.0.38;FBDM/{density=3.0,width=1080};FBLC/en_GB;FBDV/SM-G991B;FBSV/13;FBCA/arm64-v8a:;]";
    let instagram =
        "Instagram 300.0.0.18 (iPhone14,5; iOS 17_1; en_IR@calendar=gregorian; en-IR; scale=3.00)";
    let mut rows = vec![
        row("u2", IPHONE.replace("{}", instagram), ["", "mobile", "", "Instagram"]),
        row("u6", facebook, ["", "mobile", "", "Facebook"]),
        person("u7", "Safari/600 MobileShop (Google Pixel 6; android 13) build 4", "mobile"),
        person("u8", TABLET.replace("{}", "M BOT TAB 101"), "tablet"),
        person("u9", "MozacFetch/120.0", ""),
        row(
            "u20",
            IPHONE.replace("{}", "GoogleWv/1.0 GeminiiOS/1.2 Safari/604.1"),
            ["", "mobile", "", "Gemini"],
        ),
        person("u5", WINDOWS.replace("{}", "Initiator: https://shop.example"), "desktop"),
        person(
            "u22",
            TABLET.replace("{}", "KFTRWI").replace("Chrome/96", "Silk/96 like Chrome/96"),
            "tablet",
        ),
        person(
            "u22",
            TABLET.replace("{}", "AFTKA").replace("Chrome/96", "Silk/96 like Chrome/96"),
            "tv",
        ),
        person(
            "u23",
            "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; SLCC2; .NET CLR 2.0.50727)",
            "desktop",
        ),
        person("u25", WEB_VIEW.replace("{}", "baiduboxapp/13.10"), "mobile"),
        person("u25", ANDROID.replace("{}", "Pixel 6") + " Quark/6.1", "mobile"),
        person("u25", WEB_VIEW.replace("{}", "DaumApps/3.1 DaumDevice/mobile"), "mobile"),
        person("u25", WEB_VIEW.replace("{}", "CCleaner/4.1"), "mobile"),
    ];
    for model in ["CUBOT ECHO", "CUBOT NOTE 20", "CUBOT_X19"] {
        rows.push(person("u1", ANDROID.replace("{}", model), "mobile"));
    }
    for app in ["CamScanner/6.2", "shop-checkout", "PriceCheck/1", "NewsFeed/4", "BabyMonitor3/1"] {
        rows.push(person("u3, u4, u10", WEB_VIEW.replace("{}", app), "mobile"));
    }
    for model in ["ForwardRuby", "Agua Vortex", "FEVER", "OCTOPUS-CORE"] {
        rows.push(person("u24", ANDROID.replace("{}", model), "mobile"));
    }
    check(rows);
}

#[test]
fn u11_to_u15_and_u21_machines_are_machines() {
    let office = |id, agent| machine(id, agent, "http_library", "Microsoft Office");
    let verifier = "(compatible; Google-HotelAdsVerifier/2.0)";
    let hotel = |agent: &str| {
        machine(
            "u11",
            agent.to_owned() + " " + verifier,
            "declared_crawler",
            "Google-HotelAdsVerifier",
        )
    };
    check(vec![
        hotel(WINDOWS.replace("{}", "").trim()),
        hotel(&ANDROID.replace("{}", "Pixel 6")),
        machine(
            "u12",
            WINDOWS.replace("{}", "(compatible; Google-Adwords-Express)"),
            "declared_crawler",
            "Google-Adwords-Express",
        ),
        office("u13", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0.17126; Pro)"),
        office("u13", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17126; Pro)"),
        office("u13", "Microsoft Office Word/16.43.1108 (Mac OS/11.0.1; Desktop; AppStore)"),
        office("u13", "Mozilla/5.0 (Macintosh; Intel Mac OS X) Word/14.64.0"),
        office("u13", "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"),
        office(
            "u13",
            "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Trident/7.0; ms-office; MSOffice 16)",
        ),
        office("u13", "Microsoft Office Existence Discovery"),
        machine(
            "u14",
            "Mozilla/5.0 (compatible; Cloudinary/1.0)",
            "declared_crawler",
            "Cloudinary",
        ),
        machine("u14", "Mozilla/5.0 (compatible; Wappalyzer)", "declared_crawler", "Wappalyzer"),
        machine("u15", "HTTPie/0.9.9", "http_library", "HTTPie"),
        machine(
            "u21",
            "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
            "ai_crawler",
            "meta-externalagent",
        ),
    ]);
}

#[test]
fn u26_to_u28_previews_agents_and_monitors_keep_their_kind_and_name() {
    check(vec![
        machine(
            "u26",
            "Mozilla/5.0 (iPad; CPU OS 9_3 like Mac OS X) AppleWebKit/601.1.46 (KHTML, like Gecko) Version/9.0 Mobile/13E5181f Safari/601.1 (compatible; Google Web Preview Analytics) Google Web Preview",
            "link_preview",
            "Google Web Preview",
        ),
        machine(
            "u26",
            ANDROID.replace("{}", "moto g") + " Chrome-Lighthouse",
            "monitor",
            "Chrome-Lighthouse",
        ),
        machine(
            "u26",
            ANDROID.replace("{}", "Pixel 6")
                + " (compatible; Bytespider; spider@bytedance.example)",
            "ai_crawler",
            "Bytespider",
        ),
        machine(
            "u27",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
            "ai_agent",
            "ChatGPT-User",
        ),
        machine(
            "u27",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Perplexity-User/1.0; +https://perplexity.ai)",
            "ai_agent",
            "Perplexity-User",
        ),
        machine(
            "u27",
            "Mozilla/5.0 (compatible; MistralAI-User/1.0; +https://docs.mistral.ai/robots)",
            "ai_agent",
            "MistralAI-User",
        ),
        machine("u28", "WhatsApp/2.23.20.0 A", "link_preview", "WhatsApp"),
        machine(
            "u28",
            WINDOWS.replace("{}", "PingdomPageSpeed/1.0 (pingbot/2.0; http://www.pingdom.com/)"),
            "monitor",
            "pingdom",
        ),
        machine("u28", WINDOWS.replace("{}", "https://linko.app/crawler"), "monitor", "linko"),
        machine(
            "u28",
            "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1;  http://www.changedetection.com/bot.html )",
            "monitor",
            "changedetection",
        ),
    ]);
}

#[test]
fn u16_and_u17_an_app_or_model_name_is_no_device_and_u19_a_headset_is_one() {
    let quest = "Mozilla/5.0 (X11; Linux x86_64; Quest 3) AppleWebKit/537.36 (KHTML, like Gecko) OculusBrowser/33.2.0.18.22.61 SamsungBrowser/4.0 Chrome/126.0.0.0 VR Safari/537.36";
    check(vec![
        person("u16", ANDROID.replace("{}", "DRAFT-1"), "mobile"),
        person("u16", TABLET.replace("{}", "AFTKA"), "tv"),
        person("u17", IPHONE.replace("{}", "PlayStationApp/22.1"), "mobile"),
        person("u19", quest, "headset"),
        person("u19", quest.replace("X11; Linux x86_64", "Linux; Android 12"), "headset"),
    ]);
    let agent = Agent::of(quest, &RULES);
    assert_eq!((&*agent.browser, &*agent.browser_major), ("Oculus Browser", "33"));
}

#[test]
fn u18_the_browser_that_the_hint_names_is_used() {
    let mut enricher = Enricher::new(Arc::clone(&RULES));
    let agent = WINDOWS.replace(" {}", "");
    let edge = agent.clone() + " Edg/120.0.0.0";
    for (agent, hint, browser, major, class) in [
        (&agent, r#""Brave";v="120", "Chromium";v="120""#, "Brave", "120", BotClass::None),
        (&agent, r#""Chromium";v="120", "Google Chrome";v="120""#, "Chrome", "120", BotClass::None),
        (&agent, r#""HeadlessChrome";v="120""#, "HeadlessChrome", "120", BotClass::DeclaredCrawler),
        (&agent, "", "Chrome", "120", BotClass::None),
        (&edge, r#""Brave";v="9""#, "Edge", "120", BotClass::None),
    ] {
        let click = RawClick {
            user_agent: Some(agent),
            sec_ch_ua: Some(hint),
            method: Method::Get,
            ..RawClick::new(Uuid::nil(), 0, "a")
        };
        let found = enricher.enrich(&click);
        let found = (found.browser(), found.browser_major(), found.bot);
        assert_eq!(found, (browser, major, class), "{hint}");
    }
}

/// The agents that the rules judge differently from `is_machine`.
fn misjudged(agents: &[String], rules: &RuleSet, is_machine: bool) -> Vec<(String, BotClass)> {
    let judged = agents.iter().map(|agent| (agent, Agent::of(agent, rules)));
    let wrong = judged.filter(|(_, judged)| judged.bot.is_bot() != is_machine);
    wrong.map(|(agent, judged)| (agent.clone(), judged.bot)).collect()
}

fn lines(list: List) -> Vec<String> {
    let text = list.text();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The machines of [`MACHINES`].
fn machines() -> Vec<String> {
    #[derive(Deserialize)]
    struct Case {
        user_agent: String,
    }
    let cases: Vec<Case> = serde_saphyr::from_str(&MACHINES.text()).unwrap();
    cases.into_iter().map(|case| case.user_agent).collect()
}

#[test]
fn machines_of_two_other_lists_are_caught() {
    // The counts of the rules of version 3.
    for (list, agents, before) in
        [(CRAWLERS, lines(CRAWLERS), 3_535), (MACHINES, machines(), 1_290)]
    {
        let missed = misjudged(&agents, &RULES, true);
        missed.iter().for_each(|(agent, _)| println!("missed: {agent}"));
        let (all, caught) = (agents.len(), agents.len() - missed.len());
        println!("{}: {before} of {all} machines before, {caught} now", list.package());
        assert!(all > 1_000 && caught * 100 >= all * 92 && caught >= before, "{caught} of {all}");
    }
}

#[test]
fn people_are_not_taken_for_machines() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Browser {
        user_agent: String,
        weight: f64,
    }
    let browsers: Vec<Browser> = serde_json::from_str(&BROWSERS.text()).unwrap();
    let (mut all, mut taken) = (0.0, 0.0);
    for Browser { user_agent, weight } in &browsers {
        all += weight;
        let agent = Agent::of(user_agent, &RULES);
        if agent.bot.is_bot() {
            println!("taken for {:?} {}: {user_agent}", agent.bot, agent.bot_name);
            taken += weight;
        }
    }
    let share = 100.0 * taken / all;
    println!("{}: 0.0000 % of {} before, {share:.4} % now", BROWSERS.package(), browsers.len());
    assert!(browsers.len() >= 10_000 && share <= 0.05, "{share} %");
    // Devices that are rare or no longer sold.
    let agents = lines(DEVICES);
    let taken = misjudged(&agents, &RULES, false);
    taken.iter().for_each(|(agent, class)| println!("taken for {class:?}: {agent}"));
    let (all, taken) = (agents.len(), taken.len());
    println!("{}: 421 of {all} before, {taken} now", DEVICES.package());
    assert!(all > 100_000 && taken * 10_000 <= all * 15, "{taken} of {all}");
}

#[test]
fn a_machine_is_never_named_after_a_system_a_device_or_a_browser() {
    const OTHERS: [&str; 16] = [
        "linux",
        "windows",
        "android",
        "iphone",
        "ipad",
        "macintosh",
        "x11",
        "ios",
        "mac",
        "cros",
        "nexus",
        "samsung",
        "chrome",
        "safari",
        "firefox",
        "mozilla",
    ];
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for text in lines(CRAWLERS).into_iter().chain(machines()) {
        let agent = Agent::of(&text, &RULES);
        let name = agent.bot_name;
        let is_others = OTHERS.contains(&&*name.to_lowercase())
            || !name.is_empty() && [&agent.os, &agent.device_model].contains(&&name);
        assert!(!is_others, "{name}: {text}");
        *names.entry(name).or_default() += 1;
    }
    let (all, nameless) = (names.values().sum::<usize>(), names.get("").copied().unwrap_or(0));
    println!("{} names of {all} machines, {nameless} without one", names.len());
    assert!(nameless * 10 <= all, "{nameless} of {all}");
}

/// Bot names as names of apps, models and extensions, with all rules.
#[test]
fn f1_and_f2_a_machines_word_in_another_place_makes_no_machine() {
    let words = [
        "Bot",
        "Crawler",
        "Spider",
        "Scanner",
        "Feed",
        "Fetch",
        "Check",
        "Monitor",
        "Archive",
        "Robot",
        "Headless",
        "Validator",
        "Uptime",
        "Scraper",
        "Slurp",
        "Unfurl",
        "Preview",
    ];
    let listed = ["Fever", "Butterfly", "Sonic", "Yeti", "Flamingo", "Vortex", "Synapse", "Nuzzel"];
    let mut agents = Vec::new();
    for word in words {
        for agent in [
            WEB_VIEW.replace("{}", &format!("Acme{word}/2.1")),
            IPHONE.replace("{}", &format!("{word}/2.1")),
            WINDOWS.replace("{}", &format!("Acme{word}/7.0")),
            WINDOWS.replace("{}", &format!("Pingdom{word}/7.0 https://linko.app/{word}")),
            WINDOWS.replace("{}", &format!("Initiator: https://{word}.example")),
            TABLET.replace("{}", &format!("{word} 10")),
            ANDROID.replace("{}", &format!("Acme {word}")),
            ANDROID.replace("{}", &format!("{word} Build/{word}")),
            WINDOWS.replace("{}", &format!("{word}/7.0")),
            WINDOWS.replace("{}", &format!("Acme-{word}/7.0 {word}")),
            format!("{word}Acme/2.1 (iPhone; iOS 17.1; Scale/3.00)"),
            format!("Acme{word}Pro/2.1 CFNetwork/1410 Darwin/22.6.0"),
        ] {
            agents.push(agent);
        }
    }
    for name in listed {
        agents.push(ANDROID.replace("{}", name));
        agents.push(TABLET.replace("{}", &format!("Acme {name} 3 Build/KOT49H")));
        agents.push(WEB_VIEW.replace("{}", &format!("{name}/2.1")));
        agents.push(ANDROID.replace("{}", &format!("My{name}s")));
    }
    let wrong = misjudged(&agents, &RULES, false);
    assert!(agents.len() >= 150 && wrong.is_empty(), "{wrong:#?}");
}
