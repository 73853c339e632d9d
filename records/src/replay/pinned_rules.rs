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

#[cfg(test)]
mod tests {
    use super::*;

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
