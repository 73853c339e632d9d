//! The rows of the view `clicks` whose records a replay reads again. Pure.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::enrich::rule_set::RuleTable;

/// Rules of which a row holds the version.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum StaleRules {
    /// The geo database.
    Geo,
    /// The rules for user agents.
    #[value(alias = "user_agents")]
    Agents,
    /// The list of crawlers.
    #[value(alias = "crawlers")]
    Bots,
    /// The referrer table.
    Referrers,
    /// The rules of the program.
    #[value(alias = "program")]
    Code,
}

impl StaleRules {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Geo => "geo",
            Self::Agents => "agents",
            Self::Bots => "bots",
            Self::Referrers => "referrers",
            Self::Code => "code",
        }
    }

    /// Its rule table; the program has none.
    pub fn table(self) -> Option<RuleTable> {
        match self {
            Self::Geo => Some(RuleTable::Geo),
            Self::Agents => Some(RuleTable::UserAgents),
            Self::Bots => Some(RuleTable::Crawlers),
            Self::Referrers => Some(RuleTable::Referrers),
            Self::Code => None,
        }
    }
}

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowSelection {
    /// Rows that another version of one of these rules made than the plan has.
    Stale(Vec<StaleRules>),
    /// Rows that meet a condition, in ClickHouse's SQL.
    Where(String),
}

impl RowSelection {
    /// Why no row is selected.
    pub fn none(&self) -> String {
        match self {
            Self::Stale(rules) => format!("none has another version of {}", names(rules)),
            Self::Where(condition) => format!("none meets the condition {condition}"),
        }
    }
}

fn names(rules: &[StaleRules]) -> String {
    let names: Vec<_> = rules.iter().map(|own| own.name()).collect();
    names.join(", ")
}

impl fmt::Display for RowSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(rules) => write!(f, "rows of other versions of {}", names(rules)),
            Self::Where(condition) => write!(f, "rows where {condition}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_one_name_on_the_command_line_in_the_plan_and_in_texts() {
        for rules in StaleRules::value_variants() {
            let possible = rules.to_possible_value().unwrap();
            assert_eq!(possible.get_name(), rules.name());
            assert_eq!(serde_json::to_value(rules).unwrap(), rules.name());
        }
        let tables: Vec<_> =
            StaleRules::value_variants().iter().filter_map(|own| own.table()).collect();
        assert_eq!(tables, RuleTable::ALL);
        // The names that `rules list` prints.
        for rules in StaleRules::value_variants() {
            let listed = rules.table().map_or("program", RuleTable::as_str);
            assert_eq!(StaleRules::from_str(listed, false), Ok(*rules));
        }
    }

    #[test]
    fn a_selection_is_printed_with_its_rules_or_its_condition() {
        let stale = RowSelection::Stale(vec![StaleRules::Geo, StaleRules::Code]);
        assert_eq!(stale.to_string(), "rows of other versions of geo, code");
        let own = RowSelection::Where("country = ''".to_owned());
        assert_eq!(own.to_string(), "rows where country = ''");
    }
}
