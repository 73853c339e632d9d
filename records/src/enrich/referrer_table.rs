//! The referrer table: origins by host, app, campaign source and click id.
//!
//! The built-in table is `rules/referrers.txt`, which describes its format. The lines of an operator's
//! file of the same format override it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use thiserror::Error;

use crate::enrich::address::bare;
use crate::enrich::host_table::HostTable;
use crate::enrich::medium::{Medium, Origin};

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub(super) struct ReferrerTableError {
    /// The line, counted from one.
    line: usize,
    /// What is wrong there, and how to fix it.
    problem: String,
}

/// A parameter that a network adds to the address of each click.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClickId {
    /// Its name.
    pub(super) param: Arc<str>,
    /// Its origin.
    pub(super) origin: Origin,
    /// The network adds it only to paid clicks.
    pub(super) paid: bool,
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReferrerTable {
    hosts: HostTable,
    apps: HashMap<Box<str>, Origin>,
    agents: HashMap<Box<str>, Origin>,
    campaign_sources: HashMap<Box<str>, Origin>,
    /// By the name in lower case.
    params: HashMap<Box<str>, ClickId>,
}

impl ReferrerTable {
    /// The text of the built-in table.
    pub(super) const BUILT_IN: &'static str = include_str!("../../rules/referrers.txt");

    /// The built-in table.
    pub(super) fn built_in() -> &'static Self {
        #[expect(clippy::expect_used, reason = "a test parses the built-in table")]
        static TABLE: LazyLock<ReferrerTable> = LazyLock::new(|| {
            ReferrerTable::parse(ReferrerTable::BUILT_IN).expect("the built-in table is valid")
        });
        &TABLE
    }

    /// The built-in table, overridden by the lines of `own`.
    ///
    /// # Errors
    /// The first line of `own` that is wrong.
    pub(super) fn extended(own: &str) -> Result<Self, ReferrerTableError> {
        let (mut all, own) = (Self::built_in().clone(), Self::parse(own)?);
        all.hosts.extend(own.hosts);
        all.apps.extend(own.apps);
        all.agents.extend(own.agents);
        all.campaign_sources.extend(own.campaign_sources);
        all.params.extend(own.params);
        Ok(all)
    }

    /// A table of `text`, without the built-in one.
    ///
    /// # Errors
    /// The first line that is wrong.
    fn parse(text: &str) -> Result<Self, ReferrerTableError> {
        let mut table = Self::default();
        let mut seen = HashMap::new();
        for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let at_line = |problem| ReferrerTableError { line, problem };
            let (origin, marks) = entry(text).map_err(at_line)?;
            for mark in marks.split_whitespace() {
                let key = table.add(mark, &origin).map_err(at_line)?;
                if let Some(first) = seen.insert(key, line) {
                    return Err(at_line(format!("{mark} is in line {first} already")));
                }
            }
        }
        if seen.is_empty() {
            let problem = "the file has no entry; remove it to use the built-in table alone";
            return Err(ReferrerTableError { line: 1, problem: problem.to_owned() });
        }
        Ok(table)
    }

    /// Adds a mark of `origin`; returns it in the form in which marks are compared.
    fn add(&mut self, mark: &str, origin: &Origin) -> Result<String, String> {
        let (kind, rest) = match mark.split_once(':') {
            Some((kind, rest)) => (kind, rest),
            None => ("host", mark),
        };
        if rest.is_empty() {
            return Err(format!("{mark} has nothing after the colon"));
        }
        let origin = origin.clone();
        let rest = match kind {
            "host" => self.hosts.add(rest, origin)?,
            "service" => {
                self.hosts.add_service(rest)?;
                rest.to_owned()
            }
            "app" => put(&mut self.apps, rest.to_ascii_lowercase(), origin),
            "agent" => put(&mut self.agents, rest.replace('+', " "), origin),
            "utm" => put(&mut self.campaign_sources, source_key(rest), origin),
            "paid" | "param" => {
                let id = ClickId { param: rest.into(), origin, paid: kind == "paid" };
                let name = rest.to_ascii_lowercase();
                self.params.insert(name.clone().into(), id);
                return Ok(format!("param:{name}"));
            }
            _ => {
                return Err(format!(
                    "{mark}: {kind} is none of app, agent, utm, paid, param, service; a host has no prefix"
                ));
            }
        };
        Ok(format!("{kind}:{rest}"))
    }

    /// The origins of hosts.
    pub(super) fn hosts(&self) -> &HostTable {
        &self.hosts
    }

    /// The origin of an app, by its package.
    pub(super) fn of_app(&self, package: &str) -> Option<&Origin> {
        if package.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.apps.get(&*package.to_ascii_lowercase())
        } else {
            self.apps.get(package)
        }
    }

    /// The origin of an in-app browser: that of the longest mark in its user agent.
    pub(super) fn of_agent(&self, user_agent: &str) -> Option<&Origin> {
        let pieces = self.agents.iter().filter(|(piece, _)| user_agent.contains(&***piece));
        let longest = pieces.max_by_key(|(piece, _)| (piece.len(), *piece));
        longest.map(|(_, origin)| origin)
    }

    /// The origin that a link's author means by `name`.
    pub(super) fn of_source(&self, name: &str) -> Option<&Origin> {
        let name = source_key(name);
        self.campaign_sources.get(&*name).or_else(|| self.hosts.of(bare(&name)))
    }

    /// The click id of a parameter, by its name in lower case.
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
        return Err(format!("{fields} fields, not medium | name | marks"));
    };
    let Some(found) = Medium::OF_TABLES.into_iter().find(|known| known.as_str() == medium) else {
        let known = Medium::OF_TABLES.map(Medium::as_str).join(", ");
        return Err(format!("medium {medium:?} is none of {known}"));
    };
    if source.is_empty() || marks.is_empty() {
        return Err("a name and at least one mark are needed".to_owned());
    }
    Ok((Origin { source: source.into(), medium: found }, marks))
}

/// A campaign source in the form in which sources are compared.
fn source_key(text: &str) -> String {
    text.trim().to_lowercase().replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_valid() {
        let table = ReferrerTable::parse(ReferrerTable::BUILT_IN).unwrap();
        assert_eq!(ReferrerTable::built_in(), &table);
    }

    #[test]
    fn the_longest_name_of_a_host_counts() {
        let table = ReferrerTable::built_in();
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
            let found = table.hosts.of(host).map_or("", |origin| &*origin.source);
            assert_eq!(found, expected, "{host}");
        }
    }

    #[test]
    fn the_longest_mark_in_an_agent_counts() {
        let table = ReferrerTable::built_in();
        let facebook = table.of_agent("Mozilla/5.0 [FB_IAB/FB4A;FBAV/490.0]").unwrap();
        assert_eq!(&*facebook.source, "Facebook");
        let messenger = table.of_agent("Mozilla/5.0 [FB_IAB/MESSENGER;FBAV/490.0]").unwrap();
        assert_eq!(&*messenger.source, "Messenger");
    }

    #[test]
    fn an_operators_lines_override_the_built_in_ones() {
        let own = "social | Our forum | forum.example bücher.example\nreferral | T | t.co\n";
        let table = ReferrerTable::extended(own).unwrap();
        assert_eq!(&*table.hosts.of("a.forum.example").unwrap().source, "Our forum");
        assert_eq!(&*table.hosts.of("xn--bcher-kva.example").unwrap().source, "Our forum");
        assert_eq!(&*table.hosts.of("t.co").unwrap().source, "T");
        assert_eq!(&*table.hosts.of("x.com").unwrap().source, "X");
    }

    #[test]
    fn an_invalid_line_is_reported_with_a_fix() {
        for (text, expected) in [
            ("# x\n\nserch | A | a.example", "line 3: medium \"serch\" is none of search, social"),
            ("# nothing", "line 1: the file has no entry"),
            ("search | A", "line 1: 2 fields, not medium | name | marks"),
            ("search | | a.example", "line 1: a name and"),
            ("search | A | https://a.example/", "line 1: https://a.example/: https is none of app"),
            ("search | A | a.example/x", "line 1: a.example/x is not a host"),
            ("search | A | a.*.b", "line 1: a.*.b is not a host"),
            ("search | A | service:a.b", "line 1: service:a.b is not one label"),
            ("search | A | a.example\nsocial | B | =a.example", "line 2: =a.example is in line 1"),
            ("search | A | utm:", "line 1: utm: has nothing"),
            ("search | A | a.example\nsocial | B | A.example", "line 2: A.example is in line 1"),
            ("search | A | paid:x\nsocial | B | param:x", "line 2: param:x is in line 1"),
        ] {
            let error = ReferrerTable::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
