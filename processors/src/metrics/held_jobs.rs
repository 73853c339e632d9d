//! The gauge of jobs by kind and state. It has no value while the number is not known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use service::lock::lock;
use service::number::gauge;

use crate::jobs::job::JobState;

/// Kinds that the gauge shows, each with all states.
const KINDS: [&str; 2] = ["redrive", "replay"];
/// The state of a job that a process should work on, and none does.
pub const SILENT: &str = "silent";

/// The state of the job of a skip that was cancelled, has failed, or was not started for an hour: its offsets have no
/// rows.
pub const OPEN_GAP: &str = "open_gap";

/// The number of jobs by kind and state.
pub type JobCounts = BTreeMap<(String, String), u64>;

/// Handles share the counts.
#[derive(Debug, Clone, Default)]
pub struct HeldJobs(Arc<Mutex<Option<JobCounts>>>);

impl HeldJobs {
    /// Replaces all counts; `None` while they are not known.
    pub fn set(&self, counts: Option<JobCounts>) {
        *lock(&self.0) = counts;
    }

    /// The metric `name`.
    pub fn collector(&self, name: &'static str) -> Box<dyn Collector> {
        Box::new(JobGauge { name, held: self.clone() })
    }
}

#[derive(Debug)]
struct JobGauge {
    name: &'static str,
    held: HeldJobs,
}

impl Collector for JobGauge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let held = lock(&self.held.0);
        let help = "Jobs in the table, by kind and state; absent while the number is unknown";
        let mut family = encoder.encode_descriptor(self.name, help, None, MetricType::Gauge)?;
        let Some(counts) = held.as_ref() else { return Ok(()) };
        let states = || JobState::ALL.into_iter().map(JobState::name).chain([SILENT, OPEN_GAP]);
        for (kind, state) in KINDS.iter().flat_map(|kind| states().map(move |it| (*kind, it))) {
            let jobs = counts.get(&(kind.to_owned(), state.to_owned()));
            let labels = [("kind", kind), ("state", state)];
            let jobs = ConstGauge::new(gauge(jobs.copied().unwrap_or_default()));
            jobs.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    #[test]
    fn each_kind_has_every_state_and_an_unknown_number_is_absent() {
        let (mut registry, held) = (Registry::default(), HeldJobs::default());
        registry.register_collector(held.collector("jobs"));
        let shown = || {
            let mut text = String::new();
            text::encode(&mut text, &registry).unwrap();
            let lines = text.lines().filter(|line| line.starts_with("jobs{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(), [""; 0]);
        let silent = ("replay".to_owned(), SILENT.to_owned());
        let other = ("newer".to_owned(), "running".to_owned());
        held.set(Some(BTreeMap::from([(silent, 2), (other, 5)])));
        assert_eq!(shown().len(), 2 * (JobState::ALL.len() + 2));
        let found: Vec<_> = shown().into_iter().filter(|line| !line.ends_with(" 0")).collect();
        assert_eq!(found, ["jobs{kind=\"replay\",state=\"silent\"} 2"]);
        held.set(None);
        assert_eq!(shown(), [""; 0]);
    }
}
