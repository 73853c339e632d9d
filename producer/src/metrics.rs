//! Every metric of the producer: its name, its help, its handle.
//!
//! Names stand here and nowhere else; labels have few values, all from closed sets.

pub mod labels;
pub mod link_metrics;

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use schemas::Outcome;

use crate::metrics::labels::{
    CauseLabel, CodeLabel, LimitLabel, OutcomeLabel, PrivacyLabel, ResultLabel, add,
};
use crate::metrics::link_metrics::LinkMetrics;
use crate::outbox::offer::Loss;
use service::attempts::Attempts;

/// Requests on the public port, by outcome.
pub const REQUESTS: &str = "clicktrail_producer_requests_total";
/// Seconds from request head to answer.
pub const REQUEST_SECONDS: &str = "clicktrail_producer_request_seconds";
/// Requests that a limit of the public port cut short, by limit.
pub const LIMITED: &str = "clicktrail_producer_limited_total";
/// Requests that the HTTP parser refused, by cause; they are no clicks.
pub const REFUSED: &str = "clicktrail_producer_requests_refused_total";
/// Clicks that a privacy policy stripped or dropped, by request.
pub const CLICKS_PRIVATE: &str = "clicktrail_producer_clicks_private_total";
/// Keys for visitor ids in memory (2: today's and tomorrow's).
pub const VISITOR_KEYS: &str = "clicktrail_producer_visitor_keys";
/// Keys that could not be read or made.
pub const VISITOR_KEY_FAILURES: &str = "clicktrail_producer_visitor_key_failures_total";
/// Day keys that were deleted because of their age.
pub const VISITOR_KEYS_FORGOTTEN: &str = "clicktrail_producer_visitor_keys_forgotten_total";
/// Clicks with an address and an agent that have no visitor id, because their day has no key.
pub const CLICKS_WITHOUT_KEY: &str = "clicktrail_producer_clicks_without_visitor_key_total";
/// Requests to the collector, by result.
pub const COLLECTOR_REQUESTS: &str = "clicktrail_producer_collector_requests_total";
/// Records sent to the collector, by result (`accepted`, `withheld`, or the code of a refusal).
pub const COLLECTOR_RECORDS: &str = "clicktrail_producer_collector_records_total";
/// Requests of the collector that are open: read, worked on, or answered and not yet sent.
pub const COLLECTOR_OPEN: &str = "clicktrail_producer_collector_open";
/// Most requests of the collector that may be open.
pub const COLLECTOR_OPEN_BOUND: &str = "clicktrail_producer_collector_bound_open";
/// Bytes that the open requests of the collector may hold, by their limits.
pub const COLLECTOR_BYTES: &str = "clicktrail_producer_collector_bytes";
/// Most bytes that they may hold.
pub const COLLECTOR_BYTES_BOUND: &str = "clicktrail_producer_collector_bound_bytes";
/// Open connections of visitors.
pub const CONNECTIONS: &str = "clicktrail_producer_connections";
/// Most connections that may be open; more wait to be accepted.
pub const CONNECTIONS_BOUND: &str = "clicktrail_producer_connections_bound";
/// Links in memory.
pub const LINKS_IN_MEMORY: &str = "clicktrail_producer_links";
/// Reloads of the links, by result (`ok`, `error`).
pub const LINK_RELOADS: &str = "clicktrail_producer_link_reloads_total";
/// Clicks made, whatever became of them.
pub const CLICKS_OFFERED: &str = "clicktrail_producer_clicks_offered_total";
/// Clicks that the broker acknowledged, those of an earlier process among them.
pub const CLICKS_DELIVERED: &str = "clicktrail_producer_clicks_delivered_total";
/// Clicks that were lost, by code.
pub const CLICKS_UNDELIVERED: &str = "clicktrail_producer_clicks_undelivered_total";
/// Seconds from the moment a click was made to its acknowledgement.
pub const DELIVERY_SECONDS: &str = "clicktrail_producer_delivery_seconds";
/// Clicks in memory that wait to be written to the outbox.
pub const QUEUE_CLICKS: &str = "clicktrail_producer_queue_clicks";
/// Most clicks that may wait in memory.
pub const QUEUE_CLICKS_BOUND: &str = "clicktrail_producer_queue_bound_clicks";
/// Bytes of the clicks that wait in memory.
pub const QUEUE_BYTES: &str = "clicktrail_producer_queue_bytes";
/// Most bytes that may wait in memory.
pub const QUEUE_BYTES_BOUND: &str = "clicktrail_producer_queue_bound_bytes";
/// Clicks in the outbox that are not delivered.
pub const OUTBOX_CLICKS: &str = "clicktrail_producer_outbox_clicks";
/// Bytes of the outbox on the disk; delivered ones go a segment at a time.
pub const OUTBOX_BYTES: &str = "clicktrail_producer_outbox_bytes";
/// Most bytes of the outbox.
pub const OUTBOX_BYTES_BOUND: &str = "clicktrail_producer_outbox_bound_bytes";
/// When the oldest click in the outbox was made, seconds since 1970 (0: none waits).
pub const OUTBOX_OLDEST: &str = "clicktrail_producer_outbox_oldest_timestamp_seconds";
/// Bytes of partial writes that a crash left.
pub const OUTBOX_TORN_BYTES: &str = "clicktrail_producer_outbox_torn_bytes_total";
/// Damaged segments that are kept in the outbox's folder, until an operator removes them and the
/// producer starts again.
pub const OUTBOX_DAMAGED_SEGMENTS: &str = "clicktrail_producer_outbox_damaged_segments";
/// Seconds of one write of a group of clicks.
pub const OUTBOX_WRITE_SECONDS: &str = "clicktrail_producer_outbox_write_seconds";
/// Seconds of one sync.
pub const OUTBOX_SYNC_SECONDS: &str = "clicktrail_producer_outbox_sync_seconds";
/// Syncs that failed.
pub const OUTBOX_SYNC_FAILURES: &str = "clicktrail_producer_outbox_sync_failures_total";
/// Clicks in flight to the broker.
pub const RELAY_CLICKS: &str = "clicktrail_producer_relay_clicks";
/// Most clicks in flight.
pub const RELAY_CLICKS_BOUND: &str = "clicktrail_producer_relay_bound_clicks";
/// 1 while the relay is throttled: CPU pressure is high or a burst has just begun, and the outbox
/// has room.
pub const RELAY_THROTTLED: &str = "clicktrail_producer_relay_throttled";
/// Seconds since the first failure of the oldest attempt that is stuck, by stage and code.
pub const STUCK_SECONDS: &str = "clicktrail_producer_stuck_seconds";
/// How often the relay started again with a new client, by code.
pub const RELAY_RETRIES: &str = "clicktrail_producer_relay_retries_total";
/// Brokers with an open connection (0: none can be reached).
pub const BROKERS_UP: &str = "clicktrail_producer_brokers_up";
/// Seconds by which this host's clock is ahead of the broker's, by the last click delivered.
pub const CLOCK_SKEW_SECONDS: &str = "clicktrail_producer_clock_skew_seconds";
/// Lines of imported access logs, by result (`click` or the code of what is wrong).
pub const IMPORT_LINES: &str = "clicktrail_producer_import_lines_total";

const REQUEST_BUCKETS: [f64; 11] =
    [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.025, 0.1, 1.0];
const DISK_BUCKETS: [f64; 9] = [0.000_01, 0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.25, 1.0, 5.0];
const DELIVERY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 60.0, 600.0];

/// By far the most requests: counted without a lookup in the family.
const REDIRECTED: &str = Outcome::Redirected.as_str();

/// Handles of all metrics; clones share their values.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each is described at the constant of its name")]
pub struct Metrics {
    pub requests: Family<OutcomeLabel, Counter>,
    pub request_seconds: Histogram,
    pub limited: Family<LimitLabel, Counter>,
    pub refused: Family<CauseLabel, Counter>,
    pub clicks_private: Family<PrivacyLabel, Counter>,
    pub visitor_keys: Gauge,
    pub visitor_key_failures: Counter,
    pub visitor_keys_forgotten: Counter,
    pub clicks_without_key: Counter,
    pub collector_requests: Family<ResultLabel, Counter>,
    pub collector_records: Family<ResultLabel, Counter>,
    pub collector_open: Gauge,
    pub collector_open_bound: Gauge,
    pub collector_bytes: Gauge,
    pub collector_bytes_bound: Gauge,
    pub connections: Gauge,
    pub connections_bound: Gauge,
    pub links_in_memory: Gauge,
    pub link_reloads: Family<ResultLabel, Counter>,
    pub clicks_offered: Counter,
    pub clicks_delivered: Counter,
    pub clicks_undelivered: Family<CodeLabel, Counter>,
    pub delivery_seconds: Histogram,
    pub queue_clicks: Gauge,
    pub queue_clicks_bound: Gauge,
    pub queue_bytes: Gauge,
    pub queue_bytes_bound: Gauge,
    pub outbox_clicks: Gauge,
    pub outbox_bytes: Gauge,
    pub outbox_bytes_bound: Gauge,
    pub outbox_oldest: Gauge<f64, AtomicU64>,
    pub outbox_torn_bytes: Counter,
    pub outbox_damaged_segments: Gauge,
    pub outbox_write_seconds: Histogram,
    pub outbox_sync_seconds: Histogram,
    pub outbox_sync_failures: Counter,
    pub relay_clicks: Gauge,
    pub relay_clicks_bound: Gauge,
    pub relay_throttled: Gauge,
    pub attempts: Attempts,
    pub relay_retries: Family<CodeLabel, Counter>,
    pub brokers_up: Gauge,
    pub clock_skew_seconds: Gauge,
    pub import_lines: Family<ResultLabel, Counter>,
    /// Of the link store and the topic of links.
    pub links: LinkMetrics,
    undelivered: Counter,
    redirected: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let clicks_undelivered = Family::<CodeLabel, Counter>::default();
        for loss in Loss::ALL {
            // A counter that first appears as 1 has not grown, for Prometheus: show its 0.
            drop(clicks_undelivered.get_or_create(&CodeLabel { code: loss.code() }));
        }
        let requests = Family::<OutcomeLabel, Counter>::default();
        let redirected = requests.get_or_create(&OutcomeLabel { outcome: REDIRECTED }).clone();
        Self {
            requests,
            request_seconds: Histogram::new(REQUEST_BUCKETS),
            limited: Family::default(),
            refused: Family::default(),
            clicks_private: Family::default(),
            visitor_keys: Gauge::default(),
            visitor_key_failures: Counter::default(),
            visitor_keys_forgotten: Counter::default(),
            clicks_without_key: Counter::default(),
            collector_requests: Family::default(),
            collector_records: Family::default(),
            collector_open: Gauge::default(),
            collector_open_bound: Gauge::default(),
            collector_bytes: Gauge::default(),
            collector_bytes_bound: Gauge::default(),
            connections: Gauge::default(),
            connections_bound: Gauge::default(),
            links_in_memory: Gauge::default(),
            link_reloads: Family::default(),
            clicks_offered: Counter::default(),
            clicks_delivered: Counter::default(),
            clicks_undelivered,
            delivery_seconds: Histogram::new(DELIVERY_BUCKETS),
            queue_clicks: Gauge::default(),
            queue_clicks_bound: Gauge::default(),
            queue_bytes: Gauge::default(),
            queue_bytes_bound: Gauge::default(),
            outbox_clicks: Gauge::default(),
            outbox_bytes: Gauge::default(),
            outbox_bytes_bound: Gauge::default(),
            outbox_oldest: Gauge::default(),
            outbox_torn_bytes: Counter::default(),
            outbox_damaged_segments: Gauge::default(),
            outbox_write_seconds: Histogram::new(DISK_BUCKETS),
            outbox_sync_seconds: Histogram::new(DISK_BUCKETS),
            outbox_sync_failures: Counter::default(),
            relay_clicks: Gauge::default(),
            relay_clicks_bound: Gauge::default(),
            relay_throttled: Gauge::default(),
            attempts: Attempts::default(),
            relay_retries: Family::default(),
            brokers_up: Gauge::default(),
            clock_skew_seconds: Gauge::default(),
            import_lines: Family::default(),
            links: LinkMetrics::default(),
            undelivered: Counter::default(),
            redirected,
        }
    }
}

impl Metrics {
    /// A registry that shows all of them.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let r = &mut registry;
        add(r, REQUESTS, "Requests on the public port", &self.requests);
        add(r, REQUEST_SECONDS, "Seconds from request head to answer", &self.request_seconds);
        add(r, LIMITED, "Requests that a limit cut short", &self.limited);
        add(r, REFUSED, "Requests that the HTTP parser refused", &self.refused);
        add(r, CLICKS_PRIVATE, "Clicks stripped or dropped", &self.clicks_private);
        add(r, VISITOR_KEYS, "Keys for visitor ids in memory", &self.visitor_keys);
        add(
            r,
            VISITOR_KEY_FAILURES,
            "Keys that could not be read or made",
            &self.visitor_key_failures,
        );
        add(
            r,
            VISITOR_KEYS_FORGOTTEN,
            "Day keys deleted because of their age",
            &self.visitor_keys_forgotten,
        );
        add(
            r,
            CLICKS_WITHOUT_KEY,
            "Clicks without a visitor id for want of a day key",
            &self.clicks_without_key,
        );
        add(r, COLLECTOR_REQUESTS, "Requests to the collector", &self.collector_requests);
        add(r, COLLECTOR_RECORDS, "Records sent to the collector", &self.collector_records);
        add(r, COLLECTOR_OPEN, "Open requests of the collector", &self.collector_open);
        add(r, COLLECTOR_OPEN_BOUND, "Most open requests of it", &self.collector_open_bound);
        add(r, COLLECTOR_BYTES, "Bytes that its open requests may hold", &self.collector_bytes);
        add(r, COLLECTOR_BYTES_BOUND, "Most bytes that they may hold", &self.collector_bytes_bound);
        add(r, CONNECTIONS, "Open connections of visitors", &self.connections);
        add(r, CONNECTIONS_BOUND, "Most connections open at once", &self.connections_bound);
        add(r, LINKS_IN_MEMORY, "Links in memory", &self.links_in_memory);
        add(r, LINK_RELOADS, "Reloads of the links", &self.link_reloads);
        add(r, CLICKS_OFFERED, "Clicks made", &self.clicks_offered);
        add(r, CLICKS_DELIVERED, "Clicks that the broker acknowledged", &self.clicks_delivered);
        add(r, CLICKS_UNDELIVERED, "Clicks that were lost", &self.clicks_undelivered);
        add(r, DELIVERY_SECONDS, "Seconds from click to acknowledgement", &self.delivery_seconds);
        add(r, QUEUE_CLICKS, "Clicks in memory", &self.queue_clicks);
        add(r, QUEUE_CLICKS_BOUND, "Most clicks in memory", &self.queue_clicks_bound);
        add(r, QUEUE_BYTES, "Bytes of clicks in memory", &self.queue_bytes);
        add(r, QUEUE_BYTES_BOUND, "Most bytes of clicks in memory", &self.queue_bytes_bound);
        add(r, IMPORT_LINES, "Lines of imported access logs", &self.import_lines);
        self.register_delivery(r);
        self.links.register(r);
        registry
    }

    /// Those of outbox and relay.
    fn register_delivery(&self, r: &mut Registry) {
        add(r, OUTBOX_CLICKS, "Clicks on the disk, not delivered", &self.outbox_clicks);
        add(r, OUTBOX_BYTES, "Bytes of the outbox", &self.outbox_bytes);
        add(r, OUTBOX_BYTES_BOUND, "Most bytes of the outbox", &self.outbox_bytes_bound);
        add(r, OUTBOX_OLDEST, "When the oldest click of the outbox was made", &self.outbox_oldest);
        add(r, OUTBOX_TORN_BYTES, "Bytes of partial writes", &self.outbox_torn_bytes);
        add(
            r,
            OUTBOX_DAMAGED_SEGMENTS,
            "Damaged segments that are kept",
            &self.outbox_damaged_segments,
        );
        add(
            r,
            OUTBOX_WRITE_SECONDS,
            "Seconds of one write of the outbox",
            &self.outbox_write_seconds,
        );
        add(r, OUTBOX_SYNC_SECONDS, "Seconds of one sync of the outbox", &self.outbox_sync_seconds);
        add(r, OUTBOX_SYNC_FAILURES, "Syncs of the outbox that failed", &self.outbox_sync_failures);
        add(r, RELAY_CLICKS, "Clicks in flight to the broker", &self.relay_clicks);
        add(r, RELAY_CLICKS_BOUND, "Most clicks in flight", &self.relay_clicks_bound);
        add(r, RELAY_THROTTLED, "Whether the relay is throttled", &self.relay_throttled);
        r.register_collector(self.attempts.collector(STUCK_SECONDS));
        add(r, RELAY_RETRIES, "How often the relay started again", &self.relay_retries);
        add(r, BROKERS_UP, "Brokers with an open connection", &self.brokers_up);
        let help = "Seconds by which this host's clock is ahead of the broker's";
        add(r, CLOCK_SKEW_SECONDS, help, &self.clock_skew_seconds);
    }

    /// Visitors redirected so far.
    pub fn redirects(&self) -> u64 {
        self.redirected.get()
    }

    /// Counts one request by its outcome.
    pub fn request(&self, outcome: &'static str) {
        match outcome {
            REDIRECTED => self.redirected.inc(),
            outcome => self.requests.get_or_create(&OutcomeLabel { outcome }).inc(),
        };
    }

    /// Counts one request that a limit cut short.
    pub fn limited_by(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabel { limit }).inc();
    }

    /// Counts one request that the HTTP parser refused.
    pub fn refused(&self, cause: &'static str) {
        self.refused.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Counts one click as lost.
    pub fn lost(&self, loss: Loss) {
        self.lost_many(loss, 1);
    }

    /// Counts `clicks` as lost.
    pub fn lost_many(&self, loss: Loss, clicks: u64) {
        self.clicks_undelivered.get_or_create(&CodeLabel { code: loss.code() }).inc_by(clicks);
        self.undelivered.inc_by(clicks);
    }

    /// Clicks lost so far, for whatever reason.
    pub fn undelivered(&self) -> u64 {
        self.undelivered.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_shown_under_the_name_of_its_constant() {
        let metrics = Metrics::default();
        metrics.lost(Loss::QueueFull);
        metrics.lost_many(Loss::OutboxFull, 2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
        for line in [
            format!("{CLICKS_UNDELIVERED}{{code=\"queue_full\"}} 1"),
            format!("{CLICKS_UNDELIVERED}{{code=\"outbox_full\"}} 2"),
            format!("{CLICKS_OFFERED} 0"),
            format!("{QUEUE_CLICKS} 0"),
            format!("{REQUEST_SECONDS}_count 0"),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert_eq!(metrics.undelivered(), 3);
        metrics.request(Outcome::Redirected.as_str());
        assert_eq!(metrics.redirects(), 1);
        let label = OutcomeLabel { outcome: "redirected" };
        assert_eq!(metrics.requests.get_or_create(&label).get(), 1, "it is one of the family");
    }
}
