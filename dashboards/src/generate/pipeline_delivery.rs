//! Panels of *Pipeline*: from the visitor's request to the log.

use serde_json::json;

use crate::generate::column::Column;
use crate::generate::look::{Colour, Unit};
use crate::generate::panel::Panel;
use crate::generate::time_series::{counted_series, time_series};

/// A time series of metrics of the producers.
fn series(title: &str, description: &str) -> Panel {
    time_series(title, description)
        .no_value("Prometheus has no such metric: is the producer scraped?")
        .size(8, 8)
}

/// The same of whole numbers or of shares.
fn counts(title: &str, description: &str) -> Panel {
    counted_series(title, description)
        .no_value("Prometheus has no such metric: is the producer scraped?")
        .size(8, 8)
}

/// Events that should not be: without any, the panel states so.
fn faults(title: &str, description: &str) -> Panel {
    counts(title, description).no_value("None in this time range")
}

/// How long a request takes.
pub(crate) fn latency() -> Panel {
    let description = "Seconds from the head of a request to its answer, of the slowest producer. The ticket RedirectsSlow \
        fires above 25 ms at the 99th percentile.";
    let quantile = |share: &str| {
        format!(
            "max(histogram_quantile({share}, sum by (instance, le) \
            (rate(clicktrail_producer_request_seconds_bucket[$__rate_interval]))))"
        )
    };
    series("Redirect latency", description)
        .unit(Unit::Seconds)
        .promql(&quantile("0.5"), "median")
        .promql(&quantile("0.99"), "99th percentile")
        .promql(&quantile("0.999"), "99.9th percentile")
}

/// What visitors got.
pub(crate) fn answers() -> Panel {
    series("Requests by outcome", "Requests a second of all producers, by what the visitor got.")
        .unit(Unit::RequestsPerSecond)
        .promql(
            "sum by (outcome) (rate(clicktrail_producer_requests_total[$__rate_interval]))",
            "{{outcome}}",
        )
}

/// What was refused or bounded.
pub(crate) fn limits() -> Panel {
    let description = "Requests a second that a limit ended or the parser refused, failed requests to the collector, and the \
        share of its connections that a producer uses: at 1 it closes idle ones.";
    faults("Limits", description)
        .custom("axisSoftMax", json!(0.1))
        .column(
            &Column::new("connections used", "connections used", Unit::Share)
                .property("custom.axisSoftMax", json!(1)),
        )
        .promql("sum by (limit) (rate(clicktrail_producer_limited_total[$__rate_interval]))", "limit {{limit}}")
        .promql("sum by (cause) (rate(clicktrail_producer_requests_refused_total[$__rate_interval]))", "refused {{cause}}")
        .promql(
            "sum by (result) (rate(clicktrail_producer_collector_requests_total{result!=\"ok\"}[$__rate_interval]))",
            "collector {{result}}",
        )
        .promql(
            "max(clicktrail_producer_connections / clicktrail_producer_connections_bound)",
            "connections used",
        )
}

/// Clicks that no system has.
pub(crate) fn lost_clicks() -> Panel {
    faults("Lost clicks", "Clicks that a producer could not store, by cause. Each one pages (ClicksLost): an access log may have them.")
        .unit(Unit::Count)
        .promql("sum by (code) (increase(clicktrail_producer_clicks_undelivered_total[$__rate_interval]))", "{{code}}")
        .size(24, 6)
}

/// What waits on the producers' disks.
pub(crate) fn outbox() -> Panel {
    let description = "Clicks that are on a producer's disk or in its memory and that the broker has not acknowledged.";
    counts("Clicks waiting for the log", description)
        .unit(Unit::Short)
        .promql("sum by (instance) (clicktrail_producer_outbox_clicks)", "{{instance}} disk")
        .promql("sum by (instance) (clicktrail_producer_queue_clicks)", "{{instance}} memory")
        .promql("sum by (instance) (clicktrail_producer_relay_clicks)", "{{instance}} in flight")
}

/// How long they have waited.
pub(crate) fn outbox_age() -> Panel {
    let description = "Age of the oldest click that a producer has not delivered; nothing where all are delivered. Pages above \
        300 s (ClicksWait).";
    series("Oldest waiting click", description)
        .unit(Unit::Seconds)
        .no_value("Every click is delivered")
        .promql(
            "time() - (clicktrail_producer_outbox_oldest_timestamp_seconds > 0)",
            "{{instance}}",
        )
}

/// How much room there is.
pub(crate) fn outbox_room() -> Panel {
    let description = "Share of its bound that the outbox on the disk and the queue in memory take, and that the outbox would \
        take of the disk. At 1 clicks are lost.";
    counts("Outbox, share of its bound", description)
        .unit(Unit::Share)
        .promql("max by (instance) (clicktrail_producer_outbox_bytes / clicktrail_producer_outbox_bound_bytes)", "{{instance}} disk")
        .promql("max by (instance) (clicktrail_producer_queue_bytes / clicktrail_producer_queue_bound_bytes)", "{{instance}} memory")
        .promql(
            "max by (instance) ((clicktrail_producer_outbox_bound_bytes - clicktrail_producer_outbox_bytes) / \
            clicktrail_producer_outbox_disk_free_bytes)",
            "{{instance}} room needed, share of the free disk",
        )
}

/// From a click to its acknowledgement.
pub(crate) fn delivery() -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (le) (rate(clicktrail_producer_delivery_seconds_bucket[$__rate_interval])))"
        )
    };
    series("Delivery to the log", "Seconds from a click to its acknowledgement by the broker.")
        .unit(Unit::Seconds)
        .promql(&quantile("0.5"), "median")
        .promql(&quantile("0.99"), "99th percentile")
}

/// How the relay works.
pub(crate) fn relay() -> Panel {
    let description = "Clicks of one Produce request, restarts of the relay by cause, and 1 while the relay is throttled \
        because its host has no free cores.";
    counts("Relay", description)
        .unit(Unit::Short)
        .promql(
            "sum(rate(clicktrail_producer_clicks_delivered_total[$__rate_interval])) / \
            sum(rate(clicktrail_producer_relay_requests_total[$__rate_interval]))",
            "clicks a request",
        )
        .promql("max by (instance) (clicktrail_producer_relay_throttled)", "throttled {{instance}}")
        .promql(
            "sum by (code) (increase(clicktrail_producer_relay_retries_total[$__rate_interval]))",
            "restarts {{code}}",
        )
}

/// Faults of single hosts.
pub(crate) fn hosts() -> Panel {
    let description = "Of each producer: connected brokers (0: none), seconds by which its clock is ahead of the broker's, \
        failed syncs and damaged segments of its outbox, keys of visitor ids (2), failing operations.";
    counts("Producers", description)
        .unit(Unit::Short)
        .promql("clicktrail_producer_brokers_up", "{{instance}} brokers")
        .promql("clicktrail_producer_clock_skew_seconds", "{{instance}} clock ahead, s")
        .promql("clicktrail_producer_visitor_keys", "{{instance}} visitor keys")
        .promql(
            "increase(clicktrail_producer_outbox_sync_failures_total[$__rate_interval])",
            "{{instance}} failed syncs",
        )
        .promql("clicktrail_producer_outbox_damaged_segments > 0", "{{instance}} damaged segments")
        .promql(
            "max by (instance, stage, code) (clicktrail_producer_stuck_seconds) > 0",
            "{{instance}} {{stage}} fails, s: {{code}}",
        )
}

/// The links of the producers.
pub(crate) fn links() -> Panel {
    let description = "Links in memory of each producer, changed links that wait to be published, links that the topic has \
        superseded, and 0 while a producer has not loaded all links.";
    counts("Links", description)
        .unit(Unit::Short)
        .promql("clicktrail_producer_links", "{{instance}} links")
        .promql("clicktrail_producer_link_outbox_links", "{{instance}} unpublished")
        .promql("clicktrail_producer_links_behind", "{{instance}} superseded")
        .promql("clicktrail_producer_links_loaded", "{{instance}} loaded")
        .size(12, 8)
}

/// Records of the topic of links.
pub(crate) fn link_records() -> Panel {
    let description = "Records of the topic of links by result, and failed snapshots and reloads. \"refused\" ones are no links.";
    counts("Link records", description)
        .no_value("No record of the topic of links was counted in this time range")
        .unit(Unit::Short)
        .column(&Column::new("refused by processors", "refused by processors", Unit::Short).colour(Colour::Bad))
        .promql("sum by (result) (increase(clicktrail_producer_link_records_total[$__rate_interval]))", "{{result}}")
        .promql("sum(increase(clicktrail_processors_links_refused_total[$__rate_interval]))", "refused by processors")
        .promql("sum(increase(clicktrail_producer_link_snapshots_total{result=\"error\"}[$__rate_interval]))", "failed snapshots")
        .promql("sum(increase(clicktrail_producer_link_reloads_total{result=\"error\"}[$__rate_interval]))", "failed reloads")
        .size(12, 8)
}
