//! The conditions of alerts on gauges of one process. Pure.

use crate::status::alert_condition::AlertCondition::{self, *};
use crate::status::metric_samples::{MetricSample, MetricSamples};
use crate::status::shown_values::{bytes, duration, percent};
use crate::status::status_finding::StatusFinding;

/// How a value is read from gauges.
#[derive(Debug, Clone, Copy)]
enum GaugeReading {
    /// A number.
    Number(&'static str),
    /// Seconds.
    Seconds(&'static str),
    /// Seconds, of either sign.
    Distance(&'static str),
    /// Seconds since a time; 0 is no time.
    Age(&'static str),
    /// Bytes, as a share of their bound.
    ShareOfBytes(&'static str, &'static str),
    /// Free bytes, as a share of what used bytes leave of their bound.
    Room { free: &'static str, used: &'static str, bound: &'static str },
    /// A number, as a share of its bound.
    Share(&'static str, &'static str),
}

/// A condition on gauges.
#[derive(Debug)]
pub struct GaugeCheck {
    /// The condition.
    pub condition: AlertCondition,
    reading: GaugeReading,
    /// What the value is.
    what: &'static str,
}

use GaugeReading::{Age, Distance, Number, Room, Seconds, Share, ShareOfBytes};

const fn check(condition: AlertCondition, what: &'static str, reading: GaugeReading) -> GaugeCheck {
    GaugeCheck { condition, reading, what }
}

/// All of them.
pub const GAUGE_CHECKS: [GaugeCheck; 20] = [
    check(LinksNotLoaded, "links loaded (0: not all)", Number("clicktrail_producer_links_loaded")),
    check(
        ConnectionsNearBound,
        "connections of visitors",
        Share("clicktrail_producer_connections", "clicktrail_producer_connections_bound"),
    ),
    check(
        OutboxFilling,
        "the outbox",
        ShareOfBytes("clicktrail_producer_outbox_bytes", "clicktrail_producer_outbox_bound_bytes"),
    ),
    check(
        OutboxDiskFilling,
        "free on the disk of the outbox",
        Room {
            free: "clicktrail_producer_outbox_disk_free_bytes",
            used: "clicktrail_producer_outbox_bytes",
            bound: "clicktrail_producer_outbox_bound_bytes",
        },
    ),
    check(
        ClicksWait,
        "wait of the oldest click in the outbox",
        Age("clicktrail_producer_outbox_oldest_timestamp_seconds"),
    ),
    check(BrokersDisconnected, "connected brokers", Number("clicktrail_producer_brokers_up")),
    check(
        QueueFilling,
        "clicks in memory",
        ShareOfBytes("clicktrail_producer_queue_bytes", "clicktrail_producer_queue_bound_bytes"),
    ),
    check(
        OutboxDamaged,
        "damaged segments in the outbox",
        Number("clicktrail_producer_outbox_damaged_segments"),
    ),
    check(
        ProducerStuck,
        "time for which an attempt has failed",
        Seconds("clicktrail_producer_stuck_seconds"),
    ),
    check(
        ClockSkewed,
        "the clock of the host is ahead of the broker's by",
        Distance("clicktrail_producer_clock_skew_seconds"),
    ),
    check(VisitorKeysMissing, "day keys (of 2)", Number("clicktrail_producer_visitor_keys")),
    check(
        LinksUnpublished,
        "links whose change is not published",
        Number("clicktrail_producer_link_outbox_links"),
    ),
    check(
        LinksBehind,
        "links of the store that the topic has superseded",
        Number("clicktrail_producer_links_behind"),
    ),
    check(
        ProcessorsStuck,
        "time for which an attempt has failed",
        Seconds("clicktrail_processors_stuck_seconds"),
    ),
    check(
        RuleTableUnusable,
        "usable files of the rule table",
        Number("clicktrail_processors_rules_file_good"),
    ),
    check(
        RuleTableOld,
        "time since the rule table was built",
        Age("clicktrail_processors_rules_built_timestamp_seconds"),
    ),
    check(AuditOutOfBalance, "clicks counted twice", Number("clicktrail_audit_duplicates")),
    check(AuditOutOfBalance, "rows on a wrong shard", Number("clicktrail_audit_misplaced")),
    check(
        AuditJudgesNothing,
        "time for which all records of the audit have been within its grace",
        Age("clicktrail_audit_judges_nothing_timestamp_seconds"),
    ),
    check(
        AuditSilent,
        "time since the last complete run",
        Age("clicktrail_audit_last_run_timestamp_seconds"),
    ),
];

impl GaugeCheck {
    /// The metrics that it reads.
    pub fn metrics(&self) -> Vec<&'static str> {
        match self.reading {
            Number(name) | Seconds(name) | Distance(name) | Age(name) => vec![name],
            ShareOfBytes(name, bound) | Share(name, bound) => vec![name, bound],
            Room { free, used, bound } => vec![free, used, bound],
        }
    }

    /// What is wrong with the process at `address`, a finding for each series of the gauge.
    pub(super) fn findings(
        &self,
        address: &str,
        samples: &MetricSamples,
        now_s: f64,
    ) -> Vec<StatusFinding> {
        let [name, ..] = self.metrics()[..] else { return Vec::new() };
        let wrong = samples.all(name).filter_map(|sample| {
            let (value, shown) = self.value(sample, samples, now_s)?;
            self.condition.is_met(value).then(|| {
                let labels = sample.labels.replace('"', "");
                let of = if labels.is_empty() { labels } else { format!(" ({labels})") };
                let text = format!("{address}: {}{of}: {shown}", self.what);
                let next = format!("curl -sS http://{address}/metrics | grep {name}");
                StatusFinding::alert(self.condition, text, next)
            })
        });
        wrong.collect()
    }

    /// The value that the limit is of, and how a person reads it.
    fn value(
        &self,
        sample: &MetricSample,
        samples: &MetricSamples,
        now_s: f64,
    ) -> Option<(f64, String)> {
        let value = sample.value;
        let share = |bound: &str| Some(value / samples.value(bound)?);
        Some(match self.reading {
            Number(_) => (value, format!("{value}")),
            Seconds(_) => (value, duration(value)),
            Distance(_) => (value.abs(), duration(value)),
            Age(_) if value == 0.0 => return None,
            Age(_) => (now_s - value, duration(now_s - value)),
            Share(_, bound) => {
                let share = share(bound)?;
                (share, format!("{value}, {} of their bound", percent(share)))
            }
            Room { used, bound, .. } => {
                let left = samples.value(bound)? - samples.value(used)?;
                let shown = format!("{}, and its bound allows {} more", bytes(value), bytes(left));
                // A full outbox needs no room.
                (if left > 0.0 { value / left } else { f64::INFINITY }, shown)
            }
            ShareOfBytes(_, bound) => {
                let share = share(bound)?;
                (share, format!("{}, {} of the bound", bytes(value), percent(share)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_764_000_000.0;

    /// The findings of a page with the metrics of a check, all of them with these values.
    fn found(check: &GaugeCheck, values: &[f64]) -> Vec<StatusFinding> {
        let lines = check.metrics().into_iter().zip(values);
        let lines: Vec<_> = lines.map(|(name, value)| format!("{name} {value}")).collect();
        check.findings("h:1", &MetricSamples::read(&lines.join("\n")), NOW)
    }

    /// Values of which the first set is just within the limit, and the second one just beyond.
    fn around(check: &GaugeCheck) -> [Vec<f64>; 2] {
        use crate::status::limit::Limit::{Above, Below, Equal};
        let (limit, beyond) = match check.condition.limit() {
            Above(limit) => (limit, limit + 0.001),
            Below(limit) => (limit, limit - 0.001),
            Equal(wrong) => (wrong + 1.0, wrong),
        };
        [limit, beyond].map(|value| match check.reading {
            Number(_) | Seconds(_) => vec![value],
            Distance(_) => vec![-value],
            Age(_) => vec![NOW - value],
            Share(..) | ShareOfBytes(..) => vec![value * 1e6, 1e6],
            Room { .. } => vec![value * 1e6, 1e6, 2e6],
        })
    }

    #[test]
    fn each_gauge_is_wrong_beyond_its_limit_alone() {
        for check in &GAUGE_CHECKS {
            let [right, wrong] = around(check);
            assert_eq!(found(check, &right), [], "{check:?}");
            let found = found(check, &wrong);
            let [finding] = &found[..] else { panic!("{check:?}: {found:?}") };
            assert_eq!(finding.name, check.condition.to_string());
            assert!(finding.text.starts_with("h:1: "), "{finding}");
            assert!(finding.next.ends_with(check.metrics()[0]), "{finding}");
        }
    }

    #[test]
    fn a_gauge_that_a_page_does_not_have_and_a_time_of_zero_are_no_findings() {
        let empty = MetricSamples::default();
        for check in &GAUGE_CHECKS {
            assert_eq!(check.findings("h:1", &empty, NOW), [], "{check:?}");
            if let Age(_) = check.reading {
                assert_eq!(found(check, &[0.0]), [], "{check:?}");
            }
        }
        let disk = &GAUGE_CHECKS[3];
        let text = &found(disk, &[0.0, 1_048_576.0, 2_097_152.0])[0].text;
        assert_eq!(
            text,
            "h:1: free on the disk of the outbox: 0 B, and its bound allows 1.0 MiB more"
        );
        assert_eq!(found(disk, &[0.0, 1e6, 1e6]), [], "a full outbox");
        let outbox = &GAUGE_CHECKS[2];
        let text = &found(outbox, &[1_073_741_824.0, 1_610_612_736.0])[0].text;
        assert_eq!(text, "h:1: the outbox: 1.0 GiB, 67 % of the bound");
    }

    #[test]
    fn each_series_of_a_gauge_has_its_finding_with_its_labels() {
        let page = "clicktrail_processors_stuck_seconds{stage=\"insert\",code=\"clickhouse_disk\"} 412\n\
                    clicktrail_processors_stuck_seconds{stage=\"commit\",code=\"kafka_unreachable\"} 0\n";
        let check = GAUGE_CHECKS.iter().find(|it| it.condition == ProcessorsStuck).unwrap();
        let found = check.findings("h:1", &MetricSamples::read(page), NOW);
        assert_eq!(found.len(), 1);
        let expected =
            "h:1: time for which an attempt has failed (stage=insert,code=clickhouse_disk): 6 min";
        assert_eq!(found[0].text, expected);
    }
}
