//! The versions of all rules that a replay applies. Pure.

use serde::{Deserialize, Serialize};

use crate::enrich::ENRICH_VERSION;
use crate::enrich::rule_set::{RuleSet, RuleTable};

/// Versions in the form of the table's columns; empty without such a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedRules {
    /// `ENRICH_VERSION` of the program.
    pub program: u32,
    /// Of the geo database.
    pub geo: String,
    /// Of the rules for user agents.
    pub user_agents: String,
    /// Of the list of crawlers.
    pub crawlers: String,
    /// Of the referrer table.
    pub referrers: String,
}

impl PinnedRules {
    /// Those of this program with this rule set.
    pub fn of(rules: &RuleSet) -> Self {
        let version = |table| rules.version(table).to_owned();
        Self {
            program: ENRICH_VERSION,
            geo: version(RuleTable::Geo),
            user_agents: version(RuleTable::UserAgents),
            crawlers: version(RuleTable::Crawlers),
            referrers: version(RuleTable::Referrers),
        }
    }

    /// The tables that there are none of: the columns that they decide become unknown.
    pub fn missing(&self) -> Vec<&'static str> {
        let tables = [
            (RuleTable::Geo, &self.geo),
            (RuleTable::UserAgents, &self.user_agents),
            (RuleTable::Crawlers, &self.crawlers),
            (RuleTable::Referrers, &self.referrers),
        ];
        let missing = tables.into_iter().filter(|(_, version)| version.is_empty());
        missing.map(|(table, _)| table.as_str()).collect()
    }

    /// Each rule that is older than that of a row: its name, the version here and the version of the row. The
    /// versions of the program have an order, and so have the days of geo databases of one type. A table is
    /// newer than none. All other versions are checksums, which have no order.
    pub fn older_than(&self, row: &Self) -> Vec<String> {
        let is_missing = |own: &str, row: &str| own.is_empty() && !row.is_empty();
        let pairs = [
            (self.program < row.program)
                .then(|| ("program", self.program.to_string(), row.program.to_string())),
            (is_missing(&self.geo, &row.geo) || is_older_geo(&self.geo, &row.geo))
                .then(|| (RuleTable::Geo.as_str(), self.geo.clone(), row.geo.clone())),
            is_missing(&self.user_agents, &row.user_agents).then(|| {
                (RuleTable::UserAgents.as_str(), self.user_agents.clone(), row.user_agents.clone())
            }),
            is_missing(&self.crawlers, &row.crawlers).then(|| {
                (RuleTable::Crawlers.as_str(), self.crawlers.clone(), row.crawlers.clone())
            }),
        ];
        let older = pairs.into_iter().flatten();
        older.map(|(name, own, row)| format!("{name} {own:?} instead of {row:?}")).collect()
    }

    /// Each rule whose version differs: its name, the version here and the version of `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let all = |own: &Self| {
            [
                ("program", own.program.to_string()),
                (RuleTable::Geo.as_str(), own.geo.clone()),
                (RuleTable::UserAgents.as_str(), own.user_agents.clone()),
                (RuleTable::Crawlers.as_str(), own.crawlers.clone()),
                (RuleTable::Referrers.as_str(), own.referrers.clone()),
            ]
        };
        let pairs = all(self).into_iter().zip(all(other));
        let differing = pairs.filter(|((_, own), (_, other))| own != other);
        differing
            .map(|((name, own), (_, other))| format!("{name} {own:?} instead of {other:?}"))
            .collect()
    }
}

/// Whether the first of two geo databases of one type was built on an earlier day. A version is type, day and
/// checksum.
fn is_older_geo(own: &str, other: &str) -> bool {
    let parts = |version: &str| {
        let mut parts = version.rsplitn(3, ' ').skip(1).map(str::to_owned);
        Some((parts.next()?, parts.next()?))
    };
    match (parts(own), parts(other)) {
        (Some((day, kind)), Some((other_day, other_kind))) => kind == other_kind && day < other_day,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_older_where_their_versions_have_an_order() {
        let plain = PinnedRules::of(&RuleSet::default());
        let geo = |version: &str| PinnedRules { geo: version.to_owned(), ..plain.clone() };
        let june = geo("A City 2026-06-01 0123");
        for (own, row, older) in [
            (&plain, &plain, None),
            (
                &PinnedRules { program: 1, ..plain.clone() },
                &plain,
                Some("program \"1\" instead of \""),
            ),
            (&plain, &PinnedRules { program: 1, ..plain.clone() }, None),
            (&geo("A City 2026-05-31 ffff"), &june, Some("geo \"A City 2026-05-31 ffff\" instead")),
            (&geo("A City 2026-06-01 ffff"), &june, None),
            (&geo("A City 2026-06-02 0000"), &june, None),
            (&geo("A Country 2026-05-31 ffff"), &june, None),
            (&geo("other"), &june, None),
            (&plain, &june, Some("geo \"\" instead")),
            (&june, &plain, None),
        ] {
            let found = own.older_than(row).join(", ");
            let is_named = older.map_or(found.is_empty(), |older| found.starts_with(older));
            assert!(is_named, "{own:?} {row:?}: {found}");
        }
        let row = PinnedRules { user_agents: "a".into(), crawlers: "b".into(), ..plain.clone() };
        assert_eq!(plain.older_than(&row).len(), 2);
        let other = PinnedRules { user_agents: "c".into(), crawlers: "d".into(), ..plain.clone() };
        assert_eq!(other.older_than(&row), [""; 0], "checksums have no order");
    }

    #[test]
    fn each_rule_of_another_version_is_named_with_both() {
        let plain = PinnedRules::of(&RuleSet::default());
        assert_eq!(plain.differences(&plain), [""; 0]);
        assert_eq!(plain.missing(), ["geo", "user_agents", "crawlers"]);
        let list = br#"[{"pattern": "Ursa"}]"#.to_vec();
        let rules = RuleSet::default().with(RuleTable::Crawlers, list).unwrap();
        let other = PinnedRules { program: 0, ..PinnedRules::of(&rules) };
        let found = other.differences(&plain);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], format!("program \"0\" instead of \"{ENRICH_VERSION}\""));
        assert!(found[1].starts_with("crawlers ") && found[1].ends_with("instead of \"\""));
        let json = serde_json::to_string(&other).unwrap();
        assert_eq!(serde_json::from_str::<PinnedRules>(&json).unwrap(), other);
    }
}
