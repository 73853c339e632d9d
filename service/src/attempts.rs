//! The attempts of a process: the operations that it repeats after a failure, since when, and with which
//! error code. The health probe names an attempt that lasts long as a problem, and a metric shows it.
#![expect(clippy::disallowed_methods, reason = "stamps the failures of attempts")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use crate::lock::lock;
use crate::number::{gauge, millis};

/// Seconds after which an attempt is a problem; a setting replaces them.
pub const STUCK_SECONDS: u64 = 300;
/// Most attempts at once; more are not added.
const ATTEMPTS_MAX: usize = 1_000;
/// Problems that the health probe names.
const PROBLEMS_MAX: usize = 10;
/// How often an attempt is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// An attempt counts as ended when it does not fail again within this time, also if no success is
/// reported.
const RECURS_WITHIN: Duration = Duration::from_secs(120);

/// The stage of an operation, and the record, batch or partition that it works on.
type Subject = (&'static str, String);

/// The present attempts; clones share them.
#[derive(Debug, Clone)]
pub struct Attempts {
    all: Arc<Mutex<BTreeMap<Subject, Attempt>>>,
    stuck_ms: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    code: &'static str,
    since: Instant,
    failed: Instant,
    logged: Option<Instant>,
    /// A success ends it, which is reported.
    is_reported: bool,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { all: Arc::default(), stuck_ms: Arc::new(AtomicU64::new(STUCK_SECONDS * 1000)) }
    }
}

impl Attempts {
    /// Sets the time after which an attempt is a problem.
    pub fn set_stuck_after(&self, time: Duration) {
        self.stuck_ms.store(millis(time), Ordering::Relaxed);
    }

    /// An attempt failed; its end will be reported. Returns whether the caller has to log it: at the first
    /// failure, and once a minute.
    pub fn failed(&self, stage: &'static str, what: &str, code: &'static str) -> bool {
        self.add(stage, what, code, true)
    }

    /// An attempt failed whose end is not reported: it ends when it does not fail again. Returns as
    /// [`Attempts::failed`].
    pub fn recurred(&self, stage: &'static str, what: &str, code: &'static str) -> bool {
        self.add(stage, what, code, false)
    }

    fn add(&self, stage: &'static str, what: &str, code: &'static str, is_reported: bool) -> bool {
        let now = Instant::now();
        let mut all = lock(&self.all);
        all.retain(|_, attempt| attempt.lasts(now));
        let subject = (stage, what.to_owned());
        if all.len() >= ATTEMPTS_MAX && !all.contains_key(&subject) {
            return false;
        }
        let attempt = all.entry(subject).or_insert(Attempt {
            code,
            since: now,
            failed: now,
            logged: None,
            is_reported,
        });
        (attempt.code, attempt.failed) = (code, now);
        let due = attempt.logged.is_none_or(|logged| now - logged >= LOG_EVERY);
        if due {
            attempt.logged = Some(now);
        }
        due
    }

    /// An attempt succeeded, or is no longer repeated.
    pub fn ended(&self, stage: &'static str, what: &str) {
        lock(&self.all).remove(&(stage, what.to_owned()));
    }

    /// No attempt of a stage is repeated any longer.
    pub fn all_ended(&self, stage: &'static str) {
        lock(&self.all).retain(|(own, _), _| *own != stage);
    }

    /// The attempts that last long, the oldest first, for the health probe.
    pub fn problems(&self) -> Vec<String> {
        let mut stuck = self.stuck();
        stuck.sort_by_key(|attempt| std::cmp::Reverse(attempt.seconds));
        let more = stuck.len().saturating_sub(PROBLEMS_MAX);
        let named = stuck.iter().take(PROBLEMS_MAX).map(ToString::to_string);
        named.chain((more > 0).then(|| format!("{more} more"))).collect()
    }

    fn stuck(&self) -> Vec<StuckAttempt> {
        let (now, after) =
            (Instant::now(), Duration::from_millis(self.stuck_ms.load(Ordering::Relaxed)));
        let all = lock(&self.all);
        let lasting = all.iter().filter(|(_, attempt)| attempt.lasts(now));
        let stuck = lasting.filter(|(_, attempt)| now - attempt.since >= after);
        let stuck = stuck.map(|((stage, what), attempt)| StuckAttempt {
            stage,
            what: what.clone(),
            code: attempt.code,
            seconds: (now - attempt.since).as_secs(),
        });
        stuck.collect()
    }

    /// The metric `name`: seconds of the oldest attempt that lasts long, by stage and code.
    pub fn collector(&self, name: &'static str) -> Box<dyn Collector> {
        Box::new(StuckSeconds { name, attempts: self.clone() })
    }
}

impl Attempt {
    fn lasts(&self, now: Instant) -> bool {
        self.is_reported || now - self.failed < RECURS_WITHIN
    }
}

/// An attempt that lasts long.
#[derive(Debug)]
struct StuckAttempt {
    stage: &'static str,
    what: String,
    code: &'static str,
    seconds: u64,
}

impl std::fmt::Display for StuckAttempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stage, what, code, seconds } = self;
        let space = if what.is_empty() { "" } else { " " };
        write!(f, "{stage}{space}{what} has failed for {seconds} s: {code}")
    }
}

#[derive(Debug)]
struct StuckSeconds {
    name: &'static str,
    attempts: Attempts,
}

impl Collector for StuckSeconds {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut oldest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for StuckAttempt { stage, code, seconds, .. } in self.attempts.stuck() {
            let known = oldest.entry((stage, code)).or_default();
            *known = seconds.max(*known);
        }
        let help = "Time since the first failure of the oldest attempt that is stuck";
        let mut family = encoder.encode_descriptor(self.name, help, None, MetricType::Gauge)?;
        for ((stage, code), seconds) in oldest {
            let labels = [("stage", stage), ("code", code)];
            ConstGauge::new(gauge(seconds)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    #[tokio::test(start_paused = true)]
    async fn h3_what_is_tried_for_five_minutes_is_named_and_nothing_before() {
        let attempts = Attempts::default();
        let mut registry = Registry::default();
        registry.register_collector(attempts.collector("stuck_seconds"));
        let mut logged = 0;
        for second in 0..400_u64 {
            logged += u32::from(attempts.failed("insert", "t 3:41-50", "clickhouse_unreachable"));
            attempts.failed("insert", &format!("t 0:{second}-{second}"), "other");
            attempts.ended("insert", &format!("t 0:{second}-{second}"));
            let expected =
                format!("insert t 3:41-50 has failed for {second} s: clickhouse_unreachable");
            let expected = if second < 300 { vec![] } else { vec![expected] };
            assert_eq!(attempts.problems(), expected);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(logged, 7, "at once, and each minute");
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        let line = "stuck_seconds{stage=\"insert\",code=\"clickhouse_unreachable\"} 400";
        assert!(text.contains(line), "{text}");
        attempts.ended("insert", "t 3:41-50");
        assert_eq!(attempts.problems(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn h3_a_failure_that_does_not_recur_is_no_problem() {
        let attempts = Attempts::default();
        attempts.set_stuck_after(Duration::from_secs(5));
        for _ in 0..10 {
            attempts.recurred("read", "", "batch_unreadable");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(attempts.problems(), ["read has failed for 10 s: batch_unreadable"]);
        tokio::time::advance(RECURS_WITHIN).await;
        assert_eq!(attempts.problems(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn h3_any_number_of_attempts_is_bounded_in_memory_and_in_words() {
        let attempts = Attempts::default();
        for number in 0..10_000 {
            attempts.failed("dead_letter", &format!("t 0:{number}"), "kafka_unreachable");
        }
        tokio::time::advance(Duration::from_secs(STUCK_SECONDS)).await;
        let problems = attempts.problems();
        assert_eq!((problems.len(), problems.last().unwrap().as_str()), (11, "990 more"));
        attempts.all_ended("dead_letter");
        assert_eq!(attempts.problems(), Vec::<String>::new());
    }
}
