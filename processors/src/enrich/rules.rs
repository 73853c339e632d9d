//! All rule tables at one moment. Pure: bytes in, answers out; who reads files is `crate::rules`.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::bot::Crawlers;
use super::geo::Geo;
use super::user_agent::AgentRules;

/// A table of rules, each a file of the rules folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Where addresses are.
    Geo,
    /// What user agents are.
    UserAgents,
    /// Which of them are machines.
    Crawlers,
}

impl Table {
    /// Every table, in the order of [`Rules::version`]'s numbers.
    pub const ALL: [Self; 3] = [Self::Geo, Self::UserAgents, Self::Crawlers];

    /// Its file in the folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Geo => "geo.mmdb",
            Self::UserAgents => "regexes.yaml",
            Self::Crawlers => "crawler-user-agents.json",
        }
    }

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Geo => "geo",
            Self::UserAgents => "user_agents",
            Self::Crawlers => "crawlers",
        }
    }
}

/// A snapshot: nothing in it ever changes. A table that is not there is unknown for every click.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    number: u64,
    pub(super) geo: Option<Arc<Geo>>,
    pub(super) agents: Option<Arc<AgentRules>>,
    pub(super) crawlers: Option<Arc<Crawlers>>,
    versions: [String; Table::ALL.len()],
}

impl Rules {
    /// Which snapshot of this process: each that came of another has a higher number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The version that rows carry: it follows from the file's bytes. Empty: no such table.
    pub fn version(&self, table: Table) -> &str {
        &self.versions[table as usize]
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
    fn tables_are_numbered_as_they_are_listed() {
        for (number, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, number);
        }
    }
}
