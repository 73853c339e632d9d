//! The table of places that visitors come from: hosts, apps, campaign words and click ids.
//!
//! Ours is `rules/referrers.txt`, which says how it is written. An operator's file of the same
//! form wins over it, line by line.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use thiserror::Error;
use url::Url;

use crate::enrich::medium::{Medium, Origin};

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {wrong}")]
pub(super) struct SourcesError {
    /// Counted from one.
    line: usize,
    /// What is wrong there, and what would be right.
    wrong: String,
}

/// A parameter that somebody adds to the address of each click.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClickId {
    /// Its name.
    pub(super) param: Arc<str>,
    /// Whose it is.
    pub(super) origin: Origin,
    /// It is added only where the click was paid for.
    pub(super) paid: bool,
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources {
    hosts: HashMap<Box<str>, Origin>,
    /// By the label before any country's ending.
    everywhere: HashMap<Box<str>, Origin>,
    apps: HashMap<Box<str>, Origin>,
    agents: HashMap<Box<str>, Origin>,
    words: HashMap<Box<str>, Origin>,
    params: HashMap<Box<str>, ClickId>,
}

impl Sources {
    /// Our own table as it is written.
    pub(super) const BUILT_IN: &'static str = include_str!("../../rules/referrers.txt");

    /// Ours.
    pub(super) fn built_in() -> &'static Self {
        // A test reads it, so that it cannot be empty here.
        static TABLE: LazyLock<Sources> =
            LazyLock::new(|| Sources::parse(Sources::BUILT_IN).unwrap_or_default());
        &TABLE
    }

    /// Ours, where `own` says nothing else.
    ///
    /// # Errors
    /// The first line of `own` that is wrong.
    pub(super) fn extended(own: &str) -> Result<Self, SourcesError> {
        let (mut all, own) = (Self::built_in().clone(), Self::parse(own)?);
        all.hosts.extend(own.hosts);
        all.everywhere.extend(own.everywhere);
        all.apps.extend(own.apps);
        all.agents.extend(own.agents);
        all.words.extend(own.words);
        all.params.extend(own.params);
        Ok(all)
    }

    /// A table of nothing but `text`.
    ///
    /// # Errors
    /// The first line that is wrong.
    fn parse(text: &str) -> Result<Self, SourcesError> {
        let mut table = Self::default();
        let mut seen = HashMap::new();
        for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let wrong = |wrong| SourcesError { line, wrong };
            let (origin, marks) = entry(text).map_err(wrong)?;
            for mark in marks.split_whitespace() {
                let key = table.add(mark, &origin).map_err(wrong)?;
                if let Some(first) = seen.insert(key, line) {
                    return Err(wrong(format!("{mark} is in line {first} already")));
                }
            }
        }
        match seen.is_empty() {
            true => Err(SourcesError {
                line: 1,
                wrong: "there is no line in it; without the file, what is built in holds"
                    .to_owned(),
            }),
            false => Ok(table),
        }
    }

    /// Adds what gives `origin` away; returns it in the form in which it is compared.
    fn add(&mut self, mark: &str, origin: &Origin) -> Result<String, String> {
        let (kind, rest) = match mark.split_once(':') {
            Some((kind, rest)) => (kind, rest),
            None => ("host", mark),
        };
        if rest.is_empty() {
            return Err(format!("{mark} names nothing after the colon"));
        }
        let origin = origin.clone();
        let rest = match kind {
            "host" => {
                let (host, table) = match rest.strip_suffix(".*") {
                    Some(label) if label.contains(['.', '*']) => {
                        return Err(format!("{mark}: only one label may stand before `.*`"));
                    }
                    Some(label) => (host(label), &mut self.everywhere),
                    None => (host(rest), &mut self.hosts),
                };
                let host = host.ok_or_else(|| {
                    format!("{mark} is no host: write it without scheme, port and path")
                })?;
                table.insert(host.clone().into(), origin);
                if rest.ends_with(".*") { host + ".*" } else { host }
            }
            "app" => put(&mut self.apps, rest.to_ascii_lowercase(), origin),
            "agent" => put(&mut self.agents, rest.replace('+', " "), origin),
            "utm" => put(&mut self.words, word(rest), origin),
            "paid" | "param" => {
                let id = ClickId { param: rest.into(), origin, paid: kind == "paid" };
                self.params.insert(rest.into(), id);
                return Ok(format!("param:{rest}"));
            }
            _ => {
                return Err(format!(
                    "{mark}: {kind} is none of app, agent, utm, paid, param; a host stands alone"
                ));
            }
        };
        Ok(format!("{kind}:{rest}"))
    }

    /// Whose host it is: that of the longest name that it is, or lies below.
    pub(super) fn of_host(&self, host: &str) -> Option<&Origin> {
        let mut rest = host;
        loop {
            if let Some(origin) = self.hosts.get(rest) {
                return Some(origin);
            }
            let (label, ending) = rest.split_once('.')?;
            if is_countrys(ending)
                && let Some(origin) = self.everywhere.get(label)
            {
                return Some(origin);
            }
            rest = ending;
        }
    }

    /// Whose app it is, by its package.
    pub(super) fn of_app(&self, package: &str) -> Option<&Origin> {
        match package.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.apps.get(&*package.to_ascii_lowercase()),
            false => self.apps.get(package),
        }
    }

    /// Whose own browser it is: that of the longest piece of its user agent.
    pub(super) fn of_agent(&self, user_agent: &str) -> Option<&Origin> {
        let pieces = self.agents.iter().filter(|(piece, _)| user_agent.contains(&***piece));
        let longest = pieces.max_by_key(|(piece, _)| (piece.len(), *piece));
        longest.map(|(_, origin)| origin)
    }

    /// Whom a link's author means by `name`.
    pub(super) fn of_word(&self, name: &str) -> Option<&Origin> {
        let name = word(name);
        self.words.get(&*name).or_else(|| self.of_host(&name))
    }

    /// Whose parameter it is.
    pub(super) fn of_param(&self, name: &str) -> Option<&ClickId> {
        self.params.get(name)
    }
}

fn put(table: &mut HashMap<Box<str>, Origin>, key: String, origin: Origin) -> String {
    table.insert(key.clone().into(), origin);
    key
}

fn entry(text: &str) -> Result<(Origin, &str), String> {
    let fields: Vec<_> = text.split('|').map(str::trim).collect();
    let [medium, source, marks] = fields[..] else {
        let fields = fields.len();
        return Err(format!("{fields} fields, not medium | name | what gives it away"));
    };
    let Some(found) = Medium::OF_TABLES.into_iter().find(|known| known.as_str() == medium) else {
        let known = Medium::OF_TABLES.map(Medium::as_str).join(", ");
        return Err(format!("medium {medium:?} is none of {known}"));
    };
    if source.is_empty() || marks.is_empty() {
        return Err("a name and what gives it away are needed".to_owned());
    }
    Ok((Origin { source: source.into(), medium: found }, marks))
}

/// A host in the form that addresses are compared in; international names in ASCII.
fn host(text: &str) -> Option<String> {
    if text.contains(['/', ':', '@', '?', '#', '*']) {
        return None;
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    let host = url.host_str()?;
    Some(host.strip_prefix("www.").unwrap_or(host).to_owned())
}

/// A campaign's word in the form that such are compared in.
fn word(text: &str) -> String {
    text.trim().to_lowercase().replace(' ', "_")
}

/// `com`, a country, or a country's part for companies.
fn is_countrys(ending: &str) -> bool {
    let last = ending.strip_prefix("co.").or_else(|| ending.strip_prefix("com."));
    let last = last.unwrap_or(ending);
    ending == "com" || last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_table_has_no_mistake() {
        let table = Sources::parse(Sources::BUILT_IN).unwrap();
        assert!(table.hosts.len() > 150, "{}", table.hosts.len());
        assert_eq!(Sources::built_in(), &table);
    }

    #[test]
    fn the_longest_name_of_a_host_counts() {
        let table = Sources::built_in();
        for (host, expected) in [
            ("google.com", "Google"),
            ("google.co.uk", "Google"),
            ("google.com.br", "Google"),
            ("images.google.de", "Google"),
            ("mail.google.com", "Gmail"),
            ("news.google.com", "Google News"),
            ("gemini.google.com", "Gemini"),
            ("de.search.yahoo.com", "Yahoo!"),
            ("mail.yahoo.com", "Yahoo! Mail"),
            ("lm.facebook.com", "Facebook"),
            ("out.reddit.com", "Reddit"),
            ("t.co", "X"),
            ("meet.co", ""),
            ("notfacebook.com", ""),
            ("google.com.evil.example", ""),
            ("google.evil.example", ""),
            ("com", ""),
            ("", ""),
            ("...", ""),
        ] {
            let found = table.of_host(host).map_or("", |origin| &*origin.source);
            assert_eq!(found, expected, "{host}");
        }
    }

    #[test]
    fn the_longest_piece_of_an_agent_counts() {
        let table = Sources::built_in();
        let facebook = table.of_agent("Mozilla/5.0 [FB_IAB/FB4A;FBAV/490.0]").unwrap();
        assert_eq!(&*facebook.source, "Facebook");
        let messenger = table.of_agent("Mozilla/5.0 [FB_IAB/MESSENGER;FBAV/490.0]").unwrap();
        assert_eq!(&*messenger.source, "Messenger");
    }

    #[test]
    fn an_operators_lines_win() {
        let own = "social | Our forum | forum.example bücher.example\nreferral | T | t.co\n";
        let table = Sources::extended(own).unwrap();
        assert_eq!(&*table.of_host("a.forum.example").unwrap().source, "Our forum");
        assert_eq!(&*table.of_host("xn--bcher-kva.example").unwrap().source, "Our forum");
        assert_eq!(&*table.of_host("t.co").unwrap().source, "T");
        assert_eq!(&*table.of_host("x.com").unwrap().source, "X");
    }

    #[test]
    fn a_wrong_line_is_named_with_what_would_be_right() {
        for (text, expected) in [
            ("# x\n\nserch | A | a.example", "line 3: medium \"serch\" is none of search, social"),
            ("# nothing", "line 1: there is no line in it"),
            ("search | A", "line 1: 2 fields, not medium | name | what gives it away"),
            ("search | | a.example", "line 1: a name and"),
            ("search | A | https://a.example/", "line 1: https://a.example/: https is none of app"),
            ("search | A | a.example/x", "line 1: a.example/x is no host"),
            ("search | A | a.b.*", "line 1: a.b.*: only one label"),
            ("search | A | utm:", "line 1: utm: names nothing"),
            ("search | A | a.example\nsocial | B | A.example", "line 2: A.example is in line 1"),
            ("search | A | paid:x\nsocial | B | param:x", "line 2: param:x is in line 1"),
        ] {
            let error = Sources::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
