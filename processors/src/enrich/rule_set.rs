//! All rule tables at one moment. Pure: bytes in, answers out; who reads files is `crate::rules::folder`.

use std::sync::{Arc, LazyLock};

use sha2::{Digest as _, Sha256};

use crate::enrich::bot::crawlers::Crawlers;
use crate::enrich::geo::Geo;
use crate::enrich::referrer_table::Sources;
use crate::enrich::user_agent::AgentRules;

/// A table of rules, each a file of the rules folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Where addresses are.
    Geo,
    /// What user agents are.
    UserAgents,
    /// Which of them are machines.
    Crawlers,
    /// Where visitors come from: an operator's own lines, which win over those that are built in.
    Referrers,
}

impl Table {
    /// Every table, in the order of [`Rules::version`]'s numbers.
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

    /// Whether a table is built in, so that its file need not be there.
    pub fn is_built_in(self) -> bool {
        self == Self::Referrers
    }
}

/// A snapshot: nothing in it ever changes. A table that is not there is unknown for every click.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    number: u64,
    pub(super) geo: Option<Arc<Geo>>,
    pub(super) agents: Option<Arc<AgentRules>>,
    pub(super) crawlers: Option<Arc<Crawlers>>,
    sources: Option<Arc<Sources>>,
    versions: [String; Table::ALL.len()],
}

impl Rules {
    /// Which snapshot of this process: each that came of another has a higher number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The version that rows carry: it follows from the file's bytes. Empty: no such table.
    pub fn version(&self, table: Table) -> &str {
        static BUILT_IN: LazyLock<String> =
            LazyLock::new(|| checksum(Sources::BUILT_IN.as_bytes())[..12].to_owned());
        match self.versions[table as usize].as_str() {
            "" if table == Table::Referrers => &BUILT_IN,
            version => version,
        }
    }

    /// Where visitors come from.
    pub(super) fn sources(&self) -> &Sources {
        self.sources.as_deref().unwrap_or_else(|| Sources::built_in())
    }

    /// The snapshot that goes by what is built in, as if that file had never been.
    pub fn without(&self, table: Table) -> Self {
        let mut rules = self.clone();
        rules.number += 1;
        if table == Table::Referrers {
            rules.sources = None;
            rules.versions[table as usize].clear();
        }
        rules
    }

    /// The snapshot in which `table` is what `bytes` say.
    ///
    /// # Errors
    /// Why these bytes cannot be that table.
    pub fn with(&self, table: Table, bytes: Vec<u8>) -> Result<Self, String> {
        let mut rules = self.clone();
        rules.number += 1;
        let sum = checksum(&bytes);
        let mut version = sum[..12].to_owned();
        match table {
            Table::Geo => {
                let geo = Geo::parse(bytes)?;
                version = format!("{} {}", geo.build(), &sum[..8]);
                rules.geo = Some(Arc::new(geo));
            }
            Table::UserAgents => rules.agents = Some(Arc::new(AgentRules::parse(&bytes)?)),
            Table::Crawlers => rules.crawlers = Some(Arc::new(Crawlers::parse(&bytes)?)),
            Table::Referrers => {
                let own = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
                let sources = Sources::extended(own).map_err(|error| error.to_string())?;
                version = format!("{}+{version}", Self::default().version(table));
                rules.sources = Some(Arc::new(sources));
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
    fn a_snapshot_with_a_new_table_leaves_the_old_one_as_it_was() {
        let old = Rules::default();
        let list = br#"[{"pattern": "Ursa"}]"#;
        let new = old.with(Table::Crawlers, list.to_vec()).unwrap();
        assert_eq!(old.version(Table::Crawlers), "");
        assert_eq!(new.version(Table::Crawlers), &checksum(list)[..12]);
        assert!(new.number() > old.number());
        for table in Table::ALL {
            assert!(new.with(table, b"{".to_vec()).is_err(), "{table:?}");
            assert!(new.with(table, Vec::new()).is_err(), "{table:?}");
        }
    }

    #[test]
    fn an_operators_referrers_extend_what_is_built_in_until_they_are_taken_away() {
        let plain = Rules::default();
        let own = "social | Our forum | forum.example\n";
        let rules = plain.with(Table::Referrers, own.into()).unwrap();
        let source = |rules: &Rules, host| {
            rules.sources().of_host(host).map(|origin| origin.source.to_string())
        };
        assert_eq!(source(&rules, "forum.example").as_deref(), Some("Our forum"));
        assert_eq!(source(&rules, "t.co").as_deref(), Some("X"));
        let (built_in, both) = (plain.version(Table::Referrers), rules.version(Table::Referrers));
        assert_eq!((built_in.len(), both.len()), (12, 25));
        assert!(both.starts_with(built_in));
        let again = rules.without(Table::Referrers);
        assert_eq!(again.version(Table::Referrers), built_in);
        assert_eq!(source(&again, "forum.example"), None);
        assert!(again.number() > rules.number());
    }

    #[test]
    fn tables_are_numbered_as_they_are_listed() {
        for (number, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, number);
        }
    }
}
