//! Metrics of the link store, its publisher, and the follower of the topic of links.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::labels::{CodeLabel, ResultLabel, add};

/// Links whose change is not published yet.
const WAITING: &str = "clicktrail_producer_link_outbox_links";
/// Links published to the topic, each in its current state.
const PUBLISHED: &str = "clicktrail_producer_links_published_total";
/// Failures of the publisher and the follower of links, by code.
const FAILURES: &str = "clicktrail_producer_link_failures_total";
/// Records of the topic of links, by result (`newer`, `same`, `older`, `differs`, `refused`,
/// `collides`).
const RECORDS: &str = "clicktrail_producer_link_records_total";
/// Links of the store whose version in the topic is later, or is the same with other content. The
/// count stops at 1,000.
const BEHIND: &str = "clicktrail_producer_links_behind";
/// Changes that got the version after the topic's, because the topic had superseded theirs.
const RAISED: &str = "clicktrail_producer_links_raised_total";
/// Requests to the admin API of links without a valid token.
const TOKENS_REFUSED: &str = "clicktrail_producer_link_api_tokens_refused_total";
/// 1: all links are loaded; 0: an unknown slug is answered 503.
const LOADED: &str = "clicktrail_producer_links_loaded";
/// Snapshots written, by result (`ok`, `error`).
const SNAPSHOTS: &str = "clicktrail_producer_link_snapshots_total";

/// Handles of these metrics; clones share their values.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "each is described at the constant of its name")]
pub struct LinkMetrics {
    pub waiting: Gauge,
    pub published: Counter,
    pub failures: Family<CodeLabel, Counter>,
    pub records: Family<ResultLabel, Counter>,
    pub behind: Gauge,
    pub raised: Counter,
    pub tokens_refused: Counter,
    pub loaded: Gauge,
    pub snapshots: Family<ResultLabel, Counter>,
}

impl LinkMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        add(registry, WAITING, "Links with a change that is not published yet", &self.waiting);
        add(registry, PUBLISHED, "Links published to the topic", &self.published);
        add(
            registry,
            FAILURES,
            "Failures of the publisher and the follower of links",
            &self.failures,
        );
        add(registry, RECORDS, "Records of the topic of links", &self.records);
        add(registry, BEHIND, "Links that are older in the store than in the topic", &self.behind);
        add(registry, RAISED, "Changes that got the version after the topic's", &self.raised);
        add(
            registry,
            TOKENS_REFUSED,
            "Requests to the admin API of links without a valid token",
            &self.tokens_refused,
        );
        add(registry, LOADED, "Whether all links are loaded", &self.loaded);
        add(registry, SNAPSHOTS, "Snapshots of the links written", &self.snapshots);
    }

    /// Counts a failure.
    pub fn failed(&self, code: &'static str) {
        self.failures.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts a record of the topic.
    pub fn record(&self, result: &'static str) {
        self.records.get_or_create(&ResultLabel { result }).inc();
    }
}
