//! Every metric of the producer: its name, its help, its handle.
//!
//! Only this folder names metrics. Labels have few values, all from closed sets.

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
/// Seconds from the head of a request to its answer.
pub const REQUEST_SECONDS: &str = "clicktrail_producer_request_seconds";
/// Requests and connections that a limit of the public port ended, by limit.
pub const LIMITED: &str = "clicktrail_producer_limited_total";
/// Requests that the HTTP parser refused, by cause; they become no clicks.
pub const REFUSED: &str = "clicktrail_producer_requests_refused_total";
/// Clicks that a privacy policy stripped or dropped, by who requested it.
pub const CLICKS_PRIVATE: &str = "clicktrail_producer_clicks_private_total";
/// Keys of visitor ids in memory (2: those of today and tomorrow).
pub const VISITOR_KEYS: &str = "clicktrail_producer_visitor_keys";
/// Reads of the keys of visitor ids that failed.
pub const VISITOR_KEY_FAILURES: &str = "clicktrail_producer_visitor_key_failures_total";
/// Keys of visitor ids that were deleted because of their age.
pub const VISITOR_KEYS_FORGOTTEN: &str = "clicktrail_producer_visitor_keys_forgotten_total";
/// Clicks that have no visitor id, though an address and an agent, because no key of their day is known.
pub const CLICKS_WITHOUT_KEY: &str = "clicktrail_producer_clicks_without_visitor_key_total";
/// Requests to the collector, by result.
pub const COLLECTOR_REQUESTS: &str = "clicktrail_producer_collector_requests_total";
/// Records sent to the collector, by result (`accepted`, `withheld`, or the code of a refusal).
pub const COLLECTOR_RECORDS: &str = "clicktrail_producer_collector_records_total";
/// Open requests of the collector: in reading, in work, or with an answer that is not sent yet.
pub const COLLECTOR_OPEN: &str = "clicktrail_producer_collector_open";
/// Bound of the collector's open requests.
pub const COLLECTOR_OPEN_BOUND: &str = "clicktrail_producer_collector_bound_open";
/// Bytes that the collector's open requests may hold, computed from their limits.
pub const COLLECTOR_BYTES: &str = "clicktrail_producer_collector_bytes";
/// Bound of the bytes that the collector's open requests may hold.
pub const COLLECTOR_BYTES_BOUND: &str = "clicktrail_producer_collector_bound_bytes";
/// Open connections of visitors.
pub const CONNECTIONS: &str = "clicktrail_producer_connections";
/// Bound of the open connections; for one more, the one that has been idle longest is closed.
pub const CONNECTIONS_BOUND: &str = "clicktrail_producer_connections_bound";
/// Links in memory.
pub const LINKS_IN_MEMORY: &str = "clicktrail_producer_links";
/// Reloads of the links, by result (`ok`, `error`).
pub const LINK_RELOADS: &str = "clicktrail_producer_link_reloads_total";
/// Clicks that were made, also those that were lost.
pub const CLICKS_OFFERED: &str = "clicktrail_producer_clicks_offered_total";
/// Clicks that the broker acknowledged, including those of an earlier process.
pub const CLICKS_DELIVERED: &str = "clicktrail_producer_clicks_delivered_total";
/// Clicks that were lost, by code of the cause.
pub const CLICKS_UNDELIVERED: &str = "clicktrail_producer_clicks_undelivered_total";
/// Seconds from a click to its acknowledgement by the broker.
pub const DELIVERY_SECONDS: &str = "clicktrail_producer_delivery_seconds";
/// Clicks in memory that wait to be written to the outbox.
pub const QUEUE_CLICKS: &str = "clicktrail_producer_queue_clicks";
/// Bound of the clicks in memory.
pub const QUEUE_CLICKS_BOUND: &str = "clicktrail_producer_queue_bound_clicks";
/// Bytes of the clicks that wait in memory.
pub const QUEUE_BYTES: &str = "clicktrail_producer_queue_bytes";
/// Bound of the bytes of clicks in memory.
pub const QUEUE_BYTES_BOUND: &str = "clicktrail_producer_queue_bound_bytes";
/// Clicks in the outbox that are not delivered.
pub const OUTBOX_CLICKS: &str = "clicktrail_producer_outbox_clicks";
/// Bytes of the outbox on the disk; delivered clicks are removed a segment at a time.
pub const OUTBOX_BYTES: &str = "clicktrail_producer_outbox_bytes";
/// Bound of the bytes of the outbox.
pub const OUTBOX_BYTES_BOUND: &str = "clicktrail_producer_outbox_bound_bytes";
/// Free bytes on the file system of the outbox, read every ten seconds.
pub const OUTBOX_DISK_FREE_BYTES: &str = "clicktrail_producer_outbox_disk_free_bytes";
/// Time of the oldest click in the outbox, seconds since 1970 (0: the outbox is empty).
pub const OUTBOX_OLDEST: &str = "clicktrail_producer_outbox_oldest_timestamp_seconds";
/// Bytes of partial writes that a crash left at the end of the outbox.
pub const OUTBOX_TORN_BYTES: &str = "clicktrail_producer_outbox_torn_bytes_total";
/// Damaged segments that are kept in the outbox's folder, until an operator removes them and the
/// producer starts again.
pub const OUTBOX_DAMAGED_SEGMENTS: &str = "clicktrail_producer_outbox_damaged_segments";
/// Seconds of one write of a group of clicks.
pub const OUTBOX_WRITE_SECONDS: &str = "clicktrail_producer_outbox_write_seconds";
/// Seconds of one sync of the outbox.
pub const OUTBOX_SYNC_SECONDS: &str = "clicktrail_producer_outbox_sync_seconds";
/// Syncs of the outbox that failed.
pub const OUTBOX_SYNC_FAILURES: &str = "clicktrail_producer_outbox_sync_failures_total";
/// Clicks in flight to the broker.
pub const RELAY_CLICKS: &str = "clicktrail_producer_relay_clicks";
/// Bound of the clicks in flight to the broker.
pub const RELAY_CLICKS_BOUND: &str = "clicktrail_producer_relay_bound_clicks";
/// Produce requests to the brokers, as of the last two seconds.
pub const RELAY_REQUESTS: &str = "clicktrail_producer_relay_requests_total";
/// 1 while the relay is throttled: CPU pressure is high, and the outbox has room.
pub const RELAY_THROTTLED: &str = "clicktrail_producer_relay_throttled";
/// Seconds since the first failure of the operation that has failed longest, by stage and code.
pub const STUCK_SECONDS: &str = "clicktrail_producer_stuck_seconds";
/// Restarts of the relay with a new Kafka client, by code of the cause.
pub const RELAY_RETRIES: &str = "clicktrail_producer_relay_retries_total";
/// Brokers with an open connection (0: no broker is connected).
pub const BROKERS_UP: &str = "clicktrail_producer_brokers_up";
/// Seconds by which this host's clock is ahead of the broker's, as of the last acknowledged click.
pub const CLOCK_SKEW_SECONDS: &str = "clicktrail_producer_clock_skew_seconds";
/// Lines of imported access logs, by result (`click`, or the code of the fault).
pub const IMPORT_LINES: &str = "clicktrail_producer_import_lines_total";

const REQUEST_BUCKETS: [f64; 11] =
    [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.025, 0.1, 1.0];
const DISK_BUCKETS: [f64; 9] = [0.000_01, 0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.25, 1.0, 5.0];
const DELIVERY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 60.0, 600.0];

/// The most frequent outcome by far, so its counter needs no lookup in the family.
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
    pub outbox_disk_free_bytes: Gauge,
    pub outbox_oldest: Gauge<f64, AtomicU64>,
    pub outbox_torn_bytes: Counter,
    pub outbox_damaged_segments: Gauge,
    pub outbox_write_seconds: Histogram,
    pub outbox_sync_seconds: Histogram,
    pub outbox_sync_failures: Counter,
    pub relay_clicks: Gauge,
    pub relay_clicks_bound: Gauge,
    pub relay_requests: Counter,
    pub relay_throttled: Gauge,
    pub attempts: Attempts,
    pub relay_retries: Family<CodeLabel, Counter>,
    pub brokers_up: Gauge,
    pub clock_skew_seconds: Gauge,
    pub import_lines: Family<ResultLabel, Counter>,
    /// The metrics of the link store and the topic of links.
    pub links: LinkMetrics,
    undelivered: Counter,
    redirected: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let clicks_undelivered = Family::<CodeLabel, Counter>::default();
        for loss in Loss::ALL {
            // Prometheus sees no increase in a counter that first appears as 1, so it starts as 0.
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
            outbox_disk_free_bytes: Gauge::default(),
            outbox_oldest: Gauge::default(),
            outbox_torn_bytes: Counter::default(),
            outbox_damaged_segments: Gauge::default(),
            outbox_write_seconds: Histogram::new(DISK_BUCKETS),
            outbox_sync_seconds: Histogram::new(DISK_BUCKETS),
            outbox_sync_failures: Counter::default(),
            relay_clicks: Gauge::default(),
            relay_clicks_bound: Gauge::default(),
            relay_requests: Counter::default(),
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
    /// A registry of all metrics.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let r = &mut registry;
        add(r, REQUESTS, "Requests on the public port, by outcome", &self.requests);
        add(
            r,
            REQUEST_SECONDS,
            "Seconds from the head of a request to its answer",
            &self.request_seconds,
        );
        add(r, LIMITED, "Requests and connections that a limit ended", &self.limited);
        add(r, REFUSED, "Requests that the HTTP parser refused", &self.refused);
        add(
            r,
            CLICKS_PRIVATE,
            "Clicks that a privacy policy stripped or dropped",
            &self.clicks_private,
        );
        add(r, VISITOR_KEYS, "Keys of visitor ids in memory", &self.visitor_keys);
        add(
            r,
            VISITOR_KEY_FAILURES,
            "Failed reads of the keys of visitor ids",
            &self.visitor_key_failures,
        );
        add(
            r,
            VISITOR_KEYS_FORGOTTEN,
            "Keys of visitor ids deleted because of their age",
            &self.visitor_keys_forgotten,
        );
        add(
            r,
            CLICKS_WITHOUT_KEY,
            "Clicks without a visitor id because their day has no key",
            &self.clicks_without_key,
        );
        add(r, CONNECTIONS, "Open connections of visitors", &self.connections);
        add(r, CONNECTIONS_BOUND, "Bound of the open connections", &self.connections_bound);
        add(r, LINKS_IN_MEMORY, "Links in memory", &self.links_in_memory);
        add(r, LINK_RELOADS, "Reloads of the file of links", &self.link_reloads);
        add(r, CLICKS_OFFERED, "Clicks made, also those that were lost", &self.clicks_offered);
        add(r, CLICKS_DELIVERED, "Clicks that the broker acknowledged", &self.clicks_delivered);
        add(r, CLICKS_UNDELIVERED, "Clicks that were lost", &self.clicks_undelivered);
        add(r, DELIVERY_SECONDS, "Seconds from click to acknowledgement", &self.delivery_seconds);
        add(r, IMPORT_LINES, "Lines of imported access logs", &self.import_lines);
        self.register_collector(r);
        self.register_queue(r);
        self.register_delivery(r);
        self.links.register(r);
        registry
    }

    /// Registers the metrics of the collector.
    fn register_collector(&self, r: &mut Registry) {
        add(r, COLLECTOR_REQUESTS, "Requests to the collector", &self.collector_requests);
        add(r, COLLECTOR_RECORDS, "Records sent to the collector", &self.collector_records);
        add(r, COLLECTOR_OPEN, "Open requests of the collector", &self.collector_open);
        add(
            r,
            COLLECTOR_OPEN_BOUND,
            "Bound of the collector's open requests",
            &self.collector_open_bound,
        );
        add(
            r,
            COLLECTOR_BYTES,
            "Bytes that the collector's open requests may hold",
            &self.collector_bytes,
        );
        add(
            r,
            COLLECTOR_BYTES_BOUND,
            "Bound of the bytes that the collector's open requests may hold",
            &self.collector_bytes_bound,
        );
    }

    /// Registers the metrics of the clicks in memory.
    fn register_queue(&self, r: &mut Registry) {
        add(r, QUEUE_CLICKS, "Clicks in memory that wait to be written", &self.queue_clicks);
        add(r, QUEUE_CLICKS_BOUND, "Bound of the clicks in memory", &self.queue_clicks_bound);
        add(r, QUEUE_BYTES, "Bytes of clicks in memory that wait to be written", &self.queue_bytes);
        add(
            r,
            QUEUE_BYTES_BOUND,
            "Bound of the bytes of clicks in memory",
            &self.queue_bytes_bound,
        );
    }

    /// Registers the metrics of outbox and relay.
    fn register_delivery(&self, r: &mut Registry) {
        add(r, OUTBOX_CLICKS, "Clicks in the outbox that are not delivered", &self.outbox_clicks);
        add(r, OUTBOX_BYTES, "Bytes of the outbox on the disk", &self.outbox_bytes);
        add(r, OUTBOX_BYTES_BOUND, "Bound of the bytes of the outbox", &self.outbox_bytes_bound);
        add(
            r,
            OUTBOX_DISK_FREE_BYTES,
            "Free bytes on the file system of the outbox",
            &self.outbox_disk_free_bytes,
        );
        add(r, OUTBOX_OLDEST, "Time of the oldest click in the outbox", &self.outbox_oldest);
        add(
            r,
            OUTBOX_TORN_BYTES,
            "Bytes of partial writes that a crash left",
            &self.outbox_torn_bytes,
        );
        add(
            r,
            OUTBOX_DAMAGED_SEGMENTS,
            "Damaged segments that the outbox keeps",
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
        add(r, RELAY_CLICKS_BOUND, "Bound of the clicks in flight", &self.relay_clicks_bound);
        add(r, RELAY_REQUESTS, "Produce requests to the brokers", &self.relay_requests);
        add(r, RELAY_THROTTLED, "Whether the relay is throttled", &self.relay_throttled);
        r.register_collector(self.attempts.collector(STUCK_SECONDS));
        add(r, RELAY_RETRIES, "Restarts of the relay with a new Kafka client", &self.relay_retries);
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

    /// Counts one request or connection that a limit ended.
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

    /// Clicks lost so far, for any reason.
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
