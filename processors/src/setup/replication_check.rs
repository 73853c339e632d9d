//! Judges whether ClickHouse replicates the tables of the servers of one shard. Pure.

use crate::setup::preflight::{Finding, NEW_DATABASE, TableFacts, is_replicated};

/// The replicas of a shard that answer, each with its address.
///
/// The tables of a cluster with a name are replicated. Without a name, several addresses of one table need no replication,
/// such as two proxies in front of one server.
pub(crate) fn replication(is_named: bool, replicas: &[(String, TableFacts)]) -> Option<Finding> {
    let mut tables = replicas.iter().filter(|(_, facts)| !facts.engine.is_empty());
    let (address, facts) = tables.clone().find(|(_, facts)| !is_replicated(facts))?;
    if is_named {
        let wrong = format!(
            "{address}: click_versions is {}, and the tables of a cluster are replicated",
            facts.engine
        );
        return Some(Finding { wrong, fix: NEW_DATABASE.to_owned(), tolerable: false });
    }
    let (other, _) = tables.find(|(_, other)| other.uuid != facts.uuid)?;
    let wrong = format!(
        "{address} and {other} are replicas of one shard, and ClickHouse does not replicate click_versions between them: each \
         would hold a part of the clicks"
    );
    let fix = "name the `cluster` in the file of CLICKHOUSE_SHARDS before the first click, or let each shard have one replica";
    Some(Finding { wrong, fix: fix.to_owned(), tolerable: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_a_shard_are_addresses_of_one_table_or_replicated() {
        let of = |engine: &str, uuid: &str| TableFacts {
            engine: engine.to_owned(),
            uuid: uuid.to_owned(),
            ..TableFacts::default()
        };
        let plain = of("ReplacingMergeTree", "1");
        let other = of("ReplacingMergeTree", "2");
        let replicated = of("ReplicatedReplacingMergeTree", "3");
        let missing = TableFacts::default();
        for (is_named, first, second, is_found) in [
            (false, &plain, &plain, false),
            (false, &plain, &other, true),
            (false, &replicated, &other, true),
            (false, &plain, &missing, false),
            (false, &replicated, &of("SharedReplacingMergeTree", "4"), false),
            (true, &plain, &plain, true),
            (true, &replicated, &missing, false),
        ] {
            let replicas =
                [("http://a".to_owned(), first.clone()), ("http://b".to_owned(), second.clone())];
            let found = replication(is_named, &replicas);
            assert_eq!(found.is_some(), is_found, "{found:?}");
            assert!(found.is_none_or(|found| !found.tolerable && found.wrong.contains("http://")));
        }
    }
}
