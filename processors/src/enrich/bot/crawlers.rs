//! The list of named crawlers: `crawler-user-agents.json`.

use regex_filtered::{Builder, Regexes};
use serde::Deserialize;

use crate::enrich::bot::agent_text::AgentText;
use crate::enrich::bot::bot_class::BotClass;

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
}

#[derive(Deserialize)]
struct ListEntry {
    pattern: String,
    #[serde(default)]
    tags: Vec<String>,
}

impl Crawlers {
    /// Compiles the list.
    ///
    /// # Errors
    /// It is no such list, or is empty, or holds a pattern that cannot be compiled.
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
        let entries = list.iter().map(|ListEntry { pattern, tags }| Crawler {
            class: class(tags),
            name: name(pattern).into(),
            length: pattern.len(),
        });
        Ok(Self { regexes, entries: entries.collect() })
    }

    /// Class and name of a user agent, by the most specific entry that matches where a
    /// machine puts its name.
    pub(super) fn find(&self, agent: &AgentText<'_>) -> Option<(BotClass, &str)> {
        let found = self.regexes.matching(agent.text()).filter(|(_, regex)| {
            regex.find_iter(agent.text()).any(|place| agent.is_a_machines_place(place.range()))
        });
        let found = found.map(|(number, _)| &self.entries[number]);
        let best = found.max_by_key(|entry| entry.length)?;
        Some((best.class, &best.name))
    }
}

/// The class of an entry, by its tags.
fn class(tags: &[String]) -> BotClass {
    let tagged = |tag: &str| tags.iter().any(|own| own == tag);
    // An agent that reads for a language model shows links too: what it reads for decides.
    if tagged("ai-crawler") {
        BotClass::AiAgent
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
                // The rest of a choice; what follows its bracket belongs to the name again.
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
    fn a_list_with_a_bad_pattern_or_none_is_refused_by_its_name() {
        let error = Crawlers::parse(br#"[{"pattern": "good"}, {"pattern": "bad("}]"#).unwrap_err();
        assert!(error.contains("bad("), "{error}");
        assert!(Crawlers::parse(b"[]").is_err());
        assert!(Crawlers::parse(br#"{"pattern": "x"}"#).is_err());
    }
}
