//! All metrics that the code declares, with their kinds and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::root;
use processors::metrics::audit::AuditMetrics;
use processors::metrics::processor::ProcessorMetrics;
use processors::metrics::replay::ReplayMetrics;
use processors::metrics::rules::RuleMetrics;
use producer::metrics::Metrics;
use producer::metrics::labels::{CodeLabel, PrivacyLabel, ResultLabel};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use records::dead_letters::state::DeadLetterState;
use records::enrich::rule_set::{RuleSet, RuleTable};
use records::flow::block::SizeLimits;
use service::attempts::Attempts;

fn fill_attempts(attempts: &Attempts) {
    attempts.set_stuck_after(Duration::ZERO);
    attempts.failed("stage", "", "code");
}

/// A page of the producer on which each metric has a value.
fn producer_page() -> String {
    let metrics = Metrics::default();
    metrics.request("error");
    metrics.limited_by("limit");
    metrics.refused("cause");
    drop(metrics.clicks_private.get_or_create(&PrivacyLabel { asked: "asked", done: "done" }));
    let links = &metrics.links;
    for family in [
        &metrics.collector_requests,
        &metrics.collector_records,
        &metrics.link_reloads,
        &metrics.import_lines,
        &links.records,
        &links.snapshots,
    ] {
        drop(family.get_or_create(&ResultLabel { result: "ok" }));
    }
    for family in [&metrics.relay_retries, &links.failures] {
        drop(family.get_or_create(&CodeLabel { code: "code" }));
    }
    fill_attempts(&metrics.attempts);
    let mut page = String::new();
    encode(&mut page, &metrics.registry()).unwrap();
    page
}

/// A page of the processors and of the audit on which each metric has a value.
fn processors_page() -> String {
    let mut registry = Registry::default();
    let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
    let metrics = ProcessorMetrics::register(&mut registry, limits);
    metrics.set_lag(&BTreeMap::from([(0, 1)]));
    metrics.dead_letter("code");
    metrics.dead_letter_stub("code");
    metrics.dead_letters_refused("code", 1);
    metrics.links_refused("code", 1);
    metrics.retry("stage", "code");
    metrics.shards.add(1);
    metrics.dead_letters_held.set([("code", DeadLetterState::Open, 1)].into_iter());
    metrics.jobs.set(Some(BTreeMap::new()));
    fill_attempts(&metrics.attempts);
    let replay = ReplayMetrics::register(&mut registry, &metrics);
    replay.live_lag.set(Some(1));
    replay.active_parts.set(Some(1));
    let rules = RuleMetrics::register(&mut registry);
    let geo = std::fs::read(root().join("tests/fixtures/geo/nested.mmdb")).unwrap();
    rules.loaded(RuleTable::Geo, &RuleSet::default().with(RuleTable::Geo, geo).unwrap(), 1);
    rules.refused(RuleTable::Geo);
    let audit = AuditMetrics::register(&mut registry);
    audit.failure("code");
    audit.verdict_failure("code");
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    page
}

/// A page with the metrics of every process.
fn process_page() -> String {
    let mut page = String::new();
    encode(&mut page, &service::process_metrics::registry()).unwrap();
    page
}

/// A declared metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredMetric {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// All metrics that the code declares, by the name without the ending of a histogram's series.
pub(crate) fn declared_metrics() -> BTreeMap<String, DeclaredMetric> {
    let mut declared = BTreeMap::<String, DeclaredMetric>::new();
    let page = [producer_page(), processors_page(), process_page()].concat();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(found) = line.strip_prefix("# TYPE ") {
            let (name, of) = found.split_once(' ').unwrap();
            (family, kind) = (name.to_owned(), of.to_owned());
            if kind == "counter" {
                family += "_total";
            }
        } else if !line.starts_with('#') {
            let (_, labels) = line.split_once('{').unwrap_or_default();
            let names = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
            let names = names.map(|name| name.trim_start_matches(',').to_owned());
            let metric = declared
                .entry(family.clone())
                .or_insert_with(|| DeclaredMetric { kind: kind.clone(), labels: BTreeSet::new() });
            metric.labels.extend(names.filter(|name| name != "le"));
        }
    }
    declared
}
