//! The referrer table: origins by host, app, campaign source and click id.
//!
//! The built-in table is `rules/referrers.txt`, which describes its format. The lines of an operator's
//! file of the same format override it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use thiserror::Error;
use url::Url;

use crate::enrich::address::HOST_BYTES_MAX;
use crate::enrich::medium::{Medium, Origin};

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub(super) struct ReferrerTableError {
    /// Counted from one.
    line: usize,
    /// What is wrong there, and how to fix it.
    problem: String,
}

/// A parameter that a network adds to the address of each click.
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
pub(super) struct ReferrerTable {
    hosts: HashMap<Box<str>, Origin>,
    /// Labels of the longest of them.
    host_labels_max: usize,
    /// By the label before any country's ending.
    any_country: HashMap<Box<str>, Origin>,
    apps: HashMap<Box<str>, Origin>,
    agents: HashMap<Box<str>, Origin>,
    campaign_sources: HashMap<Box<str>, Origin>,
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
        all.host_labels_max = all.host_labels_max.max(own.host_labels_max);
        all.any_country.extend(own.any_country);
        all.apps.extend(own.apps);
        all.agents.extend(own.agents);
        all.campaign_sources.extend(own.campaign_sources);
        all.params.extend(own.params);
        Ok(all)
    }

    /// A table of `text` alone.
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
            "host" => {
                let (host, table) = match rest.strip_suffix(".*") {
                    Some(label) if label.contains(['.', '*']) => {
                        return Err(format!("{mark}: only one label is allowed before `.*`"));
                    }
                    Some(label) => (host(label), &mut self.any_country),
                    None => (host(rest), &mut self.hosts),
                };
                let host = host.ok_or_else(|| {
                    format!("{mark} is not a host: write it without scheme, port and path")
                })?;
                table.insert(host.clone().into(), origin);
                self.host_labels_max = self.host_labels_max.max(host.split('.').count());
                if rest.ends_with(".*") { host + ".*" } else { host }
            }
            "app" => put(&mut self.apps, rest.to_ascii_lowercase(), origin),
            "agent" => put(&mut self.agents, rest.replace('+', " "), origin),
            "utm" => put(&mut self.campaign_sources, source_key(rest), origin),
            "paid" | "param" => {
                let id = ClickId { param: rest.into(), origin, paid: kind == "paid" };
                self.params.insert(rest.into(), id);
                return Ok(format!("param:{rest}"));
            }
            _ => {
                return Err(format!(
                    "{mark}: {kind} is none of app, agent, utm, paid, param; a host has no prefix"
                ));
            }
        };
        Ok(format!("{kind}:{rest}"))
    }

    /// The origin of a host: that of the longest name that is the host or a parent of it. Looks up as
    /// many names as the longest entry has labels, and none of a host longer than the DNS can hold.
    pub(super) fn of_host(&self, host: &str) -> Option<&Origin> {
        if host.len() > HOST_BYTES_MAX {
            return None;
        }
        let mut rest = last_labels(host, self.host_labels_max.max(COUNTRY_LABELS_MAX));
        loop {
            if let Some(origin) = self.hosts.get(rest) {
                return Some(origin);
            }
            let (label, ending) = rest.split_once('.')?;
            if is_country_suffix(ending)
                && let Some(origin) = self.any_country.get(label)
            {
                return Some(origin);
            }
            rest = ending;
        }
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
        self.campaign_sources.get(&*name).or_else(|| self.of_host(&name))
    }

    /// The click id of a parameter.
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

/// A host in the form that addresses are compared in; international names in ASCII.
fn host(text: &str) -> Option<String> {
    if text.contains(['/', ':', '@', '?', '#', '*']) {
        return None;
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    let host = url.host_str()?;
    Some(host.strip_prefix("www.").unwrap_or(host).to_owned())
}

/// A campaign source in the form in which they are compared.
fn source_key(text: &str) -> String {
    text.trim().to_lowercase().replace(' ', "_")
}

/// Labels of a name of [`ReferrerTable::any_country`]: its own, `co`, and the country.
const COUNTRY_LABELS_MAX: usize = 3;

/// The end of a host that has at most so many labels.
fn last_labels(host: &str, labels_max: usize) -> &str {
    let dot = host.rmatch_indices('.').nth(labels_max.saturating_sub(1));
    dot.map_or(host, |(dot, _)| &host[dot + 1..])
}

/// `com`, a country, or a country's domain for companies.
fn is_country_suffix(ending: &str) -> bool {
    let last = ending.strip_prefix("co.").or_else(|| ending.strip_prefix("com."));
    let last = last.unwrap_or(ending);
    ending == "com" || last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_valid() {
        let table = ReferrerTable::parse(ReferrerTable::BUILT_IN).unwrap();
        assert!(table.hosts.len() > 150, "{}", table.hosts.len());
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
            let found = table.of_host(host).map_or("", |origin| &*origin.source);
            assert_eq!(found, expected, "{host}");
        }
    }

    /// What every parent of a host, looked up one by one, would find.
    fn of_each_parent<'t>(table: &'t ReferrerTable, host: &str) -> Option<&'t Origin> {
        let starts = std::iter::once(0).chain(host.match_indices('.').map(|(dot, _)| dot + 1));
        starts.map(|start| &host[start..]).find_map(|name| {
            let (label, ending) = name.split_once('.').unwrap_or((name, ""));
            let of_country = || table.any_country.get(label).filter(|_| is_country_suffix(ending));
            table.hosts.get(name).or_else(of_country)
        })
    }

    #[test]
    fn h6_the_last_labels_of_a_host_decide_as_all_of_them_would() {
        let own = "social | Deep | a.b.c.d.e.f.g.example\nsearch | Label | odd.*";
        for table in [ReferrerTable::built_in().clone(), ReferrerTable::extended(own).unwrap()] {
            let mut hosts: Vec<String> = table.hosts.keys().map(|host| host.to_string()).collect();
            hosts.extend(table.any_country.keys().flat_map(|label| {
                ["com", "de", "co.uk", "com.br", "evil.example"].map(|end| format!("{label}.{end}"))
            }));
            hosts.extend(
                ["", ".", "...", "com", "a..com", "x.a.b.c.d.e.f.g.example"].map(str::to_owned),
            );
            for host in hosts {
                for before in ["", "x.", "m.www.", ".", "a.b.c.d.e.f.g.h.i."] {
                    let host = format!("{before}{host}");
                    assert_eq!(table.of_host(&host), of_each_parent(&table, &host), "{host}");
                }
            }
        }
    }

    #[test]
    fn h6_no_host_longer_than_the_dns_allows_is_looked_up() {
        let table = ReferrerTable::built_in();
        let of_length = |bytes: usize| format!("{}.t.co", "x".repeat(bytes - 5));
        assert!(table.of_host(&of_length(HOST_BYTES_MAX)).is_some());
        assert_eq!(table.of_host(&of_length(HOST_BYTES_MAX + 1)), None);
        assert_eq!(table.of_host(&format!("{}t.co", "a.".repeat(450_000))), None);
        assert_eq!(table.of_source(&format!("{}t.co", "a.".repeat(450_000))), None);
        assert_eq!(last_labels("a.b.c.d", 2), "c.d");
        assert_eq!(last_labels("a.b", 2), "a.b");
        assert_eq!(last_labels("", 3), "");
        assert_eq!(last_labels(".....", 2), ".");
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
        assert_eq!(&*table.of_host("a.forum.example").unwrap().source, "Our forum");
        assert_eq!(&*table.of_host("xn--bcher-kva.example").unwrap().source, "Our forum");
        assert_eq!(&*table.of_host("t.co").unwrap().source, "T");
        assert_eq!(&*table.of_host("x.com").unwrap().source, "X");
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
            ("search | A | a.b.*", "line 1: a.b.*: only one label"),
            ("search | A | utm:", "line 1: utm: has nothing"),
            ("search | A | a.example\nsocial | B | A.example", "line 2: A.example is in line 1"),
            ("search | A | paid:x\nsocial | B | param:x", "line 2: param:x is in line 1"),
        ] {
            let error = ReferrerTable::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
