//! The kind of a user agent: one of four words, which a click keeps when a privacy rule removes the agent.
//!
//! Pure. The patterns are those of the schema's doc of `agent_kind` and never change: a click does not
//! keep the agent, so no later rule can decide again.

use crate::symbols::AgentKind;

/// Ends of robots' names.
const ROBOTS: [&str; 3] = ["bot", "crawler", "spider"];
/// Names behind `compatible;` that are browsers or systems.
const COMPATIBLE: [&str; 10] = [
    "msie",
    "konqueror",
    "opera",
    "android",
    "linux",
    "windows",
    "macintosh",
    "x11",
    "iphone",
    "ipad",
];
/// Texts that identify a machine at any place of an agent.
const TEXTS: [&str; 8] = [
    "+http://",
    "+https://",
    "headlesschrome/",
    "phantomjs/",
    "chrome-lighthouse",
    "windowspowershell/",
    "googleimageproxy",
    "google web preview",
];
/// First names of programs whose agent names a system or other programs after its own name.
const PROGRAMS: [&str; 30] = [
    "aiohttp",
    "apache-httpclient",
    "axios",
    "curl",
    "dart",
    "faraday",
    "go-http-client",
    "got",
    "guzzle",
    "guzzlehttp",
    "httpie",
    "java",
    "libwww-perl",
    "lwp",
    "microsoft",
    "node",
    "okhttp",
    "php",
    "postmanruntime",
    "python",
    "python-requests",
    "python-urllib",
    "reqwest",
    "rest-client",
    "restsharp",
    "ruby",
    "skypeuripreview",
    "wget",
    "whatsapp",
    "winhttp",
];

impl AgentKind {
    /// The kind of an agent, by its text alone.
    pub fn of(user_agent: Option<&str>) -> Self {
        let agent = user_agent.unwrap_or_default().trim().to_ascii_lowercase();
        let is_browser = agent.starts_with("mozilla/") || agent.starts_with("opera/");
        if agent.bytes().all(|byte| byte == b' ' || byte == b'-') {
            Self::None
        } else if declares_a_machine(&agent) || (!is_browser && is_program(&agent)) {
            Self::DeclaredMachine
        } else if is_browser {
            Self::Browser
        } else {
            Self::Other
        }
    }
}

/// Whether a lowercase agent identifies itself as a machine, for any beginning.
fn declares_a_machine(agent: &str) -> bool {
    let after = |mark: &'static str| {
        agent.match_indices(mark).map(move |(at, found)| &agent[at + found.len()..])
    };
    let is_compatible = |rest: &str| {
        let name = name(rest.trim_start());
        !name.is_empty() && !COMPATIBLE.contains(&name)
    };
    let is_robot = |rest: &str| {
        let name = name(rest);
        rest[name.len()..].starts_with('/') && ROBOTS.iter().any(|end| name.ends_with(end))
    };
    TEXTS.iter().any(|text| agent.contains(text))
        || after("compatible;").any(is_compatible)
        || after("(").any(is_robot)
}

/// Whether a lowercase agent that is not a browser's is that of a program.
fn is_program(agent: &str) -> bool {
    let first = name(agent);
    let is_only = match agent[first.len()..].strip_prefix('/') {
        Some(version) => name(version).len() == version.len(),
        None => first.len() == agent.len(),
    };
    let is_robot = ROBOTS.iter().any(|word| {
        let mut ends = first.match_indices(word).map(|(at, _)| &first[at + word.len()..]);
        ends.any(|rest| !rest.starts_with(|next: char| next.is_ascii_alphabetic()))
    });
    !first.is_empty()
        && (is_only || (is_robot && !first.starts_with("cubot")) || PROGRAMS.contains(&first))
}

/// The name at the start of a text.
fn name(text: &str) -> &str {
    let is_of_name = |next: char| next.is_ascii_alphanumeric() || ".-_".contains(next);
    &text[..text.find(|next: char| !is_of_name(next)).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "Mozilla/5.0 (Linux; Android 13; MODEL) AppleWebKit/537.36 (KHTML, like \
        Gecko) Chrome/120.0.0.0 Mobile Safari/537.36";

    #[test]
    fn u15_a_machine_declares_itself() {
        for agent in [
            "HTTPie/0.9.9",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "curl/8.5.0",
            "Wget/1.21.3 (linux-gnu)",
            "python-requests/2.31.0",
            "Python/3.11 aiohttp/3.9.1",
            "Go-http-client/1.1",
            "Apache-HttpClient/4.5.13 (Java/11.0.9)",
            "facebookexternalhit/1.1",
            "WhatsApp/2.19.81 A",
            "Slackbot 1.0 (+https://api.slack.com/robots)",
            "Slackbot-LinkExpanding 1.0",
            "TelegramBot (like TwitterBot)",
            "Googlebot-Image/1.0",
            "AdsBot-Google (+http://www.google.com/adsbot.html)",
            "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
            "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0.5; Pro)",
            "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
            "Mozilla/5.0 (compatible; Cloudinary/1.0)",
            "Mozilla/5.0 (compatible;PetalBot;)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/120.0.0.0 Safari/1",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_10_1) Safari/600.2.5 (Applebot/0.1)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.1; +https://x",
            "Baiduspider+(http://www.baidu.com/search/spider.htm)",
        ] {
            assert_eq!(AgentKind::of(Some(agent)), AgentKind::DeclaredMachine, "{agent}");
        }
    }

    /// Agents of machines that begin like a browser's, and tails, models and locales of browsers that
    /// contain a machine's word.
    #[test]
    fn f5_words_of_machines_in_a_browsers_agent_count_only_where_a_machine_puts_them() {
        let words = [
            "Scanner", "Checker", "Feed", "Fetch", "Monitor", "Archive", "Bot", "Crawler", "Spider",
        ];
        let mut tried = 0;
        for word in words {
            let machines = [
                format!("{CHROME} (compatible; Orion{word}/1.0)"),
                format!("{CHROME} (compatible;  Orion{word}; a@b.example)"),
                format!("Mozilla/5.0 (Orion{word}; +https://orion.example/)"),
                format!("Orion{word}/2.1"),
            ];
            let people = [
                format!("{CHROME} Orion{word}/1.0"),
                format!("{CHROME} Initiator: https://orion.example/{word}"),
                CHROME.replace("MODEL", &format!("{word} 10")),
                CHROME.replace("MODEL", &format!("C{word} Build/{word}")),
                format!("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; {word})"),
                format!("Opera/9.80 (Android; {word}) Presto/2.12"),
            ];
            for (agents, kind) in
                [(&machines[..], AgentKind::DeclaredMachine), (&people, AgentKind::Browser)]
            {
                for agent in agents {
                    assert_eq!(AgentKind::of(Some(agent)), kind, "{agent}");
                    tried += 1;
                }
            }
        }
        assert!(tried >= 50);
    }

    #[test]
    fn f5_an_app_is_neither_a_browser_nor_a_machine_and_no_agent_is_none() {
        for (agent, kind) in [
            ("[FBAN/FB4A;FBAV/450.0;FBDV/SM-G991B;]", AgentKind::Other),
            ("Safari/600 MobileShop (Google Pixel 6; android 13)", AgentKind::Other),
            ("Instagram 300.0 (iPhone14,5; iOS 17_0; en_IR@calendar=gregorian)", AgentKind::Other),
            ("CUBOT_X19/1.0 (Android 9)", AgentKind::Other),
            ("Abbotsford 3 (iPhone)", AgentKind::Other),
            ("Dalvik/2.1.0 (Linux; U; Android 9; CUBOT ECHO)", AgentKind::Other),
            ("\u{fc}ber", AgentKind::Other),
            (" - ", AgentKind::None),
            ("", AgentKind::None),
        ] {
            assert_eq!(AgentKind::of(Some(agent)), kind, "{agent:?}");
        }
        assert_eq!(AgentKind::of(None), AgentKind::None);
    }

    /// The doc of the schema is the definition.
    #[test]
    fn the_patterns_are_those_of_the_schema() {
        let schema: serde_json::Value = serde_json::from_str(crate::NEWEST).unwrap();
        let fields = schema["fields"].as_array().unwrap();
        let field = fields.iter().find(|field| field["name"] == "agent_kind").unwrap();
        let doc = field["doc"].as_str().unwrap().to_lowercase();
        let patterns = ROBOTS.iter().chain(&COMPATIBLE).chain(&TEXTS).chain(&PROGRAMS);
        let mut words: Vec<_> = doc.split([' ', ',', ';', ':', '.']).collect();
        words.extend(doc.split('\''));
        for pattern in patterns {
            let stated =
                if pattern.contains(' ') { doc.contains(pattern) } else { words.contains(pattern) };
            assert!(stated, "{pattern}");
        }
        let (_, programs) = doc.split_once("its first name is ").unwrap();
        let (programs, _) = programs.split_once(". browser:").unwrap();
        let stated: Vec<_> = programs.split(", ").flat_map(|it| it.split(" or ")).collect();
        assert_eq!(stated, PROGRAMS);
    }
}
