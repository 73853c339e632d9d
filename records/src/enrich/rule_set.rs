//! All rule tables at one moment. Pure: the processors read the files.

use std::sync::{Arc, LazyLock};

use sha2::{Digest as _, Sha256};

use crate::enrich::bot::crawlers::Crawlers;
use crate::enrich::geo::Geo;
use crate::enrich::referrer_table::ReferrerTable;
use crate::enrich::user_agent_rules::AgentRules;

/// A table of rules, each a file of the rules folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleTable {
    /// Locations of addresses.
    Geo,
    /// Rules for user agents.
    UserAgents,
    /// Named crawlers.
    Crawlers,
    /// Origins of visitors: an operator's own lines, which override the built-in ones.
    Referrers,
}

impl RuleTable {
    /// Every table, in the order of [`RuleSet::version`]'s numbers.
    pub const ALL: [Self; 4] = [Self::Geo, Self::UserAgents, Self::Crawlers, Self::Referrers];

    /// Its file in the folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Geo => "geo.mmdb",
            Self::UserAgents => "regexes.yaml",
            Self::Crawlers => "crawler-user-agents.json",
            Self::Referrers => "referrers.txt",
        }
    }

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Geo => "geo",
            Self::UserAgents => "user_agents",
            Self::Crawlers => "crawlers",
            Self::Referrers => "referrers",
        }
    }

    /// Whether a table is built in, so that its file may be missing.
    pub fn is_built_in(self) -> bool {
        self == Self::Referrers
    }
}

/// A rule set never changes. Without a table, its columns are unknown for every click.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    number: u64,
    pub(super) geo: Option<Arc<Geo>>,
    pub(super) agents: Option<Arc<AgentRules>>,
    pub(super) crawlers: Option<Arc<Crawlers>>,
    referrers: Option<Arc<ReferrerTable>>,
    versions: [String; RuleTable::ALL.len()],
}

impl RuleSet {
    /// The number of the rule set in this process: a rule set made from another one has a higher number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The version that rows hold, made from the bytes of the file. Empty without such a table.
    pub fn version(&self, table: RuleTable) -> &str {
        static BUILT_IN: LazyLock<String> =
            LazyLock::new(|| checksum(ReferrerTable::BUILT_IN.as_bytes())[..12].to_owned());
        match self.versions[table as usize].as_str() {
            "" if table == RuleTable::Referrers => &BUILT_IN,
            version => version,
        }
    }

    /// When a table was built, seconds since 1970, if its file states it. The time of the file does not: a copy of old
    /// data has a new one.
    pub fn built_at(&self, table: RuleTable) -> Option<i64> {
        match table {
            RuleTable::Geo => self.geo.as_ref()?.built_at(),
            RuleTable::UserAgents | RuleTable::Crawlers | RuleTable::Referrers => None,
        }
    }

    /// The origins of visitors.
    pub(super) fn referrers(&self) -> &ReferrerTable {
        self.referrers.as_deref().unwrap_or_else(|| ReferrerTable::built_in())
    }

    /// The rule set with the built-in table instead of the file's.
    pub fn without(&self, table: RuleTable) -> Self {
        let mut rules = self.clone();
        rules.number += 1;
        if table == RuleTable::Referrers {
            rules.referrers = None;
            rules.versions[table as usize].clear();
        }
        rules
    }

    /// The rule set with `bytes` as its `table`.
    ///
    /// # Errors
    /// Why the bytes cannot be used as that table.
    pub fn with(&self, table: RuleTable, bytes: Vec<u8>) -> Result<Self, String> {
        let mut rules = self.clone();
        rules.number += 1;
        let sum = checksum(&bytes);
        let mut version = sum[..12].to_owned();
        match table {
            RuleTable::Geo => {
                let geo = Geo::parse(bytes)?;
                version = format!("{} {}", geo.build(), &sum[..8]);
                rules.geo = Some(Arc::new(geo));
            }
            RuleTable::UserAgents => rules.agents = Some(Arc::new(AgentRules::parse(&bytes)?)),
            RuleTable::Crawlers => rules.crawlers = Some(Arc::new(Crawlers::parse(&bytes)?)),
            RuleTable::Referrers => {
                let own = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
                let referrers = ReferrerTable::extended(own).map_err(|error| error.to_string())?;
                version = format!("{}+{version}", Self::default().version(table));
                rules.referrers = Some(Arc::new(referrers));
            }
        }
        rules.versions[table as usize] = version;
        Ok(rules)
    }
}

/// SHA-256 in hex.
pub fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_table_makes_a_new_rule_set() {
        let old = RuleSet::default();
        let list = br#"[{"pattern": "Ursa"}]"#;
        let new = old.with(RuleTable::Crawlers, list.to_vec()).unwrap();
        assert_eq!(old.version(RuleTable::Crawlers), "");
        assert_eq!(new.version(RuleTable::Crawlers), &checksum(list)[..12]);
        assert!(new.number() > old.number());
        for table in RuleTable::ALL {
            assert!(new.with(table, b"{".to_vec()).is_err(), "{table:?}");
            assert!(new.with(table, Vec::new()).is_err(), "{table:?}");
        }
    }

    #[test]
    fn an_operators_referrers_extend_the_built_in_ones() {
        let plain = RuleSet::default();
        let own = "social | Our forum | forum.example\n";
        let rules = plain.with(RuleTable::Referrers, own.into()).unwrap();
        let source = |rules: &RuleSet, host| {
            rules.referrers().hosts().of(host).map(|origin| origin.source.to_string())
        };
        assert_eq!(source(&rules, "forum.example").as_deref(), Some("Our forum"));
        assert_eq!(source(&rules, "t.co").as_deref(), Some("X"));
        let (built_in, both) =
            (plain.version(RuleTable::Referrers), rules.version(RuleTable::Referrers));
        assert_eq!((built_in.len(), both.len()), (12, 25));
        assert!(both.starts_with(built_in));
        let again = rules.without(RuleTable::Referrers);
        assert_eq!(again.version(RuleTable::Referrers), built_in);
        assert_eq!(source(&again, "forum.example"), None);
        assert!(again.number() > rules.number());
    }

    #[test]
    fn tables_are_numbered_as_they_are_listed() {
        for (number, table) in RuleTable::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, number);
        }
    }
}
