//! Metrics of the rule tables.

use std::sync::Mutex;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use records::enrich::rule_set::{RuleSet, RuleTable};

use service::lock::lock;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    table: &'static str,
    version: String,
}

/// Handles.
#[derive(Debug, Default)]
pub struct RuleMetrics {
    file_good: Family<TableLabel, Gauge>,
    since: Family<VersionLabel, Gauge>,
    built: Family<TableLabel, Gauge>,
    refused: Family<TableLabel, Counter>,
    versions: Mutex<[String; RuleTable::ALL.len()]>,
}

fn label(table: RuleTable) -> TableLabel {
    TableLabel { table: table.as_str() }
}

impl RuleMetrics {
    /// Registers every metric.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("clicktrail_processors_rules");
        let metrics = Self::default();
        let help = "1: the table in use is that of the file; 0: the file is missing or refused";
        registry.register("file_good", help, metrics.file_good.clone());
        let help = "Load time of the table in use, seconds since 1970";
        registry.register("loaded_timestamp_seconds", help, metrics.since.clone());
        let help = "Build time that the table in use states, seconds since 1970";
        registry.register("built_timestamp_seconds", help, metrics.built.clone());
        let help = "Files that could not be used";
        registry.register("refused", help, metrics.refused.clone());
        metrics
    }

    /// A table of `rules` was loaded and is in use.
    pub fn loaded(&self, table: RuleTable, rules: &RuleSet, now_seconds: i64) {
        let (label, version) = (label(table), rules.version(table).to_owned());
        self.file_good.get_or_create(&label).set(1);
        if let Some(built) = rules.built_at(table) {
            self.built.get_or_create(&label).set(built);
        } else {
            self.built.remove(&label);
        }
        let table_label = label.table;
        let mut versions = lock(&self.versions);
        let old = std::mem::replace(&mut versions[table as usize], version.clone());
        self.since.remove(&VersionLabel { table: table_label, version: old });
        self.since.get_or_create(&VersionLabel { table: table_label, version }).set(now_seconds);
    }

    /// A file could not be used.
    pub fn refused(&self, table: RuleTable) {
        self.file_good.get_or_create(&label(table)).set(0);
        self.refused.get_or_create(&label(table)).inc();
    }

    /// A file is missing.
    pub fn missing(&self, table: RuleTable) {
        self.file_good.get_or_create(&label(table)).set(0);
    }

    /// How many files of a table were refused.
    pub fn refusals(&self, table: RuleTable) -> u64 {
        self.refused.get_or_create(&label(table)).get()
    }
}
