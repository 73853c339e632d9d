//! The list of named crawlers: `crawler-user-agents.json`.

use std::collections::BTreeSet;

use regex_filtered::{Builder, Regexes};
use serde::Deserialize;

use crate::enrich::bot::agent_text::AgentText;
use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::keywords::class_of_ai;

/// The compiled list.
pub(crate) struct Crawlers {
    regexes: Regexes,
    /// Of each pattern, in order.
    entries: Vec<Crawler>,
}

impl std::fmt::Debug for Crawlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crawlers").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

struct Crawler {
    class: BotClass,
    name: Box<str>,
    /// Of the pattern: the longest one that matches is the most specific.
    length: usize,
    /// Words longer than its name, such as `PingdomPageSpeed`, by which its examples name it in a
    /// browser's agent.
    words: BTreeSet<Box<str>>,
}

#[derive(Deserialize)]
struct ListEntry {
    pattern: String,
    #[serde(default)]
    tags: Vec<String>,
    /// Examples of its user agents.
    #[serde(default)]
    instances: Vec<String>,
}

impl Crawlers {
    /// Compiles the list.
    ///
    /// # Errors
    /// It is not such a list, or is empty, or has a pattern that cannot be compiled.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let list: Vec<ListEntry> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if list.is_empty() {
            return Err("the list has no entry".to_owned());
        }
        let mut builder = Builder::new();
        for ListEntry { pattern, .. } in &list {
            builder = builder.push(pattern).map_err(|error| format!("{pattern:?}: {error}"))?;
        }
        let regexes = builder.build().map_err(|error| error.to_string())?;
        let mut entries = Vec::with_capacity(list.len());
        for (ListEntry { pattern, tags, instances }, regex) in list.iter().zip(regexes.regexes()) {
            let mut words: BTreeSet<Box<str>> = BTreeSet::new();
            for example in instances {
                let agent = AgentText::new(example.trim());
                if agent.is_browsers() {
                    // A clone does not hold the memory of searches; most entries match no click.
                    let regex = regex.clone();
                    let places = regex.find_iter(agent.text());
                    let longer = places.filter_map(|place| agent.longer_word(&place.range()));
                    words.extend(longer.map(Box::from));
                }
            }
            let name = name(pattern);
            let class = class(tags, &name);
            entries.push(Crawler { class, name: name.into(), length: pattern.len(), words });
        }
        Ok(Self { regexes, entries })
    }

    /// Class and name of a user agent, by the most specific entry that matches at a place for names of
    /// machines, or whose examples have a longer word that matches.
    pub(super) fn find(&self, agent: &AgentText<'_>) -> Option<(BotClass, &str)> {
        let found = self.regexes.matching(agent.text()).filter(|(number, regex)| {
            regex.find_iter(agent.text()).any(|place| agent.is_a_machines_place(place.range()))
                || self.entries[*number].words.iter().any(|word| agent.has_word(word))
        });
        let found = found.map(|(number, _)| &self.entries[number]);
        let best = found.max_by_key(|entry| entry.length)?;
        Some((best.class, &best.name))
    }
}

/// The class of an entry, by its tags and its name.
fn class(tags: &[String], name: &str) -> BotClass {
    let tagged = |tag: &str| tags.iter().any(|own| own == tag);
    // An agent that reads for a language model may show previews, too: the model decides.
    if tagged("ai-crawler") {
        class_of_ai(name)
    } else if tagged("social-preview") {
        BotClass::LinkPreview
    } else if tagged("monitoring") {
        BotClass::Monitor
    } else if tagged("http-library") {
        BotClass::HttpLibrary
    } else {
        BotClass::DeclaredCrawler
    }
}

/// A name from a pattern: its literal characters, and the first part of an alternative.
fn name(pattern: &str) -> String {
    let mut name = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next() {
                Some('/') | None => break,
                Some('d' | 's' | 'w' | 'S' | 'b') => {}
                Some(literal) => name.push(literal),
            },
            '[' => {
                name.extend(rest.next().filter(|first| *first != '^' && *first != '\\'));
                for inner in rest.by_ref() {
                    if inner == ']' {
                        break;
                    }
                }
            }
            '|' if !name.trim().is_empty() => {
                // The rest of an alternative; the text after its bracket belongs to the name again.
                for other in rest.by_ref() {
                    if other == ')' {
                        break;
                    }
                }
            }
            '/' => break,
            '^' | '$' | '(' | ')' | '*' | '+' | '?' | '|' => {}
            '.' if matches!(rest.peek(), Some('*' | '+')) => {}
            literal => name.push(literal),
        }
    }
    name.trim_matches([' ', '-', ';', ':', '/']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_a_name() {
        for (pattern, expected) in [
            ("Googlebot\\/", "Googlebot"),
            ("AdsBot-Google([^-]|$)", "AdsBot-Google"),
            ("[wW]get", "wget"),
            ("^Seekbot", "Seekbot"),
            ("Ahrefs(Bot|SiteAudit)", "AhrefsBot"),
            ("(sistrix|SISTRIX) [cC]rawler", "sistrix crawler"),
            ("S[eE][mM]rushBot", "SemrushBot"),
            ("(^| )PTST\\/", "PTST"),
            ("Automaton|Newsify Feed Fetcher", "Automaton"),
            ("BlogTraffic\\/\\d\\.\\d+ Feed-Fetcher", "BlogTraffic"),
            ("Spider[\\s\\S]*spider\\.com", "Spiderspider.com"),
            ("YandexBot", "YandexBot"),
        ] {
            assert_eq!(name(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn programs_of_language_models_that_read_for_a_person_are_agents() {
        let list = ["GPTBot", "ChatGPT-User", "[cC]laude[bB]ot", "Claude-User", "PerplexityUser"];
        let entry = |pattern| serde_json::json!({"pattern": pattern, "tags": ["ai-crawler"]});
        let list = serde_json::Value::from_iter(list.map(entry));
        let crawlers = Crawlers::parse(list.to_string().as_bytes()).unwrap();
        for (agent, class) in [
            ("GPTBot/1.2", BotClass::AiCrawler),
            ("ChatGPT-User/1.0", BotClass::AiAgent),
            ("ClaudeBot/1.0", BotClass::AiCrawler),
            ("Claude-User/1.0", BotClass::AiAgent),
            ("PerplexityUser/1.0", BotClass::AiAgent),
        ] {
            let found = crawlers.find(&AgentText::new(agent)).map(|(class, _)| class);
            assert_eq!(found, Some(class), "{agent}");
        }
    }

    #[test]
    fn u28_a_longer_word_of_an_example_names_a_machine_in_a_browsers_agent() {
        let agent = |system: &str, rest: &str| {
            format!(
                "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 {rest}"
            )
        };
        let pc = |rest: &str| agent("X11; Linux x86_64", rest);
        let phone = |build: &str| agent(&format!("Linux; Android 15; A1 Build/{build}; wv"), "");
        let list = serde_json::json!([
            {"pattern": "[pP]ingdom", "instances": [
                pc("Safari/537.36 PingdomPageSpeed/1.0 (pingbot/2.0)"),
                pc("Electron/7.3 Safari/537.36 PingdomTMS/2020.2"),
                "PingdomProgram/1.0",
            ]},
            {"pattern": "linko", "instances": [pc("Safari/537.36 https://linko.app/crawler")]},
            {"pattern": "Trae\\/", "instances": [pc("Electron/39.2 Safari/537.36 Trae/1.107.1")]},
            {"pattern": "AP3A\\.24", "instances": [phone("AP3A.24.008")]},
        ]);
        let crawlers = Crawlers::parse(list.to_string().as_bytes()).unwrap();
        for (agent, expected) in [
            (pc("Safari/537.36 PingdomPageSpeed/2.1 (a)"), Some("pingdom")),
            (pc("Electron/9.1 Safari/537.36 PingdomTMS/2024.1"), Some("pingdom")),
            (pc("Safari/537.36 PingdomTMS"), Some("pingdom")),
            (pc("Safari/537.36 https://linko.app/crawler"), Some("linko")),
            (pc("Safari/537.36 PingdomProgram/1.0"), None),
            (pc("Safari/537.36 MyPingdomTMS/1.0"), None),
            (pc("Safari/537.36 PingdomTMSHelper/1.0"), None),
            (pc("Safari/537.36 Initiator: https://linko.example"), None),
            (pc("Safari/537.36 https://linko.app/crawler/shop"), None),
            (pc("Electron/39.2 Safari/537.36 Trae/1.107.1"), None),
            (agent("X11; Linux x86_64; PingdomTMS", "Safari/537.36"), Some("pingdom")),
            (agent("Linux; Android 9; PingdomTMS", "Safari/537.36"), None),
            (phone("AP3A.24.008"), None),
        ] {
            let found = crawlers.find(&AgentText::new(&agent)).map(|(_, name)| name);
            assert_eq!(found, expected, "{agent}");
        }
    }

    #[test]
    fn a_list_with_a_bad_pattern_or_none_is_refused_by_its_name() {
        let error = Crawlers::parse(br#"[{"pattern": "good"}, {"pattern": "bad("}]"#).unwrap_err();
        assert!(error.contains("bad("), "{error}");
        assert!(Crawlers::parse(b"[]").is_err());
        assert!(Crawlers::parse(br#"{"pattern": "x"}"#).is_err());
    }
}
