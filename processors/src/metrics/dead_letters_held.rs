//! The gauge of dead letters by code and state. It has no value while the number is not known, and a code
//! that it has shown keeps all states, 0 included.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use records::dead_letters::state::DeadLetterState;

use service::lock::lock;
use service::number::gauge;

/// Codes that the gauge shows; the records of another program may hold more, which are shown as
/// [`OTHER`].
const CODES_MAX: usize = 100;
/// Label of the codes beyond [`CODES_MAX`].
const OTHER: &str = "other";

/// Handles share the counts.
#[derive(Debug, Clone, Default)]
pub struct DeadLettersHeld(Arc<Mutex<HeldCounts>>);

#[derive(Debug, Default)]
struct HeldCounts {
    is_known: bool,
    by_code: BTreeMap<String, BTreeMap<DeadLetterState, u64>>,
}

impl DeadLettersHeld {
    /// Replaces all counts, in one step for a reader of the metrics.
    pub fn set<'c>(&self, counts: impl Iterator<Item = (&'c str, DeadLetterState, u64)>) {
        let mut held = lock(&self.0);
        held.is_known = true;
        for states in held.by_code.values_mut() {
            states.clear();
        }
        for (code, state, letters) in counts {
            let is_shown = held.by_code.contains_key(code) || held.by_code.len() < CODES_MAX;
            let shown = if is_shown { code } else { OTHER };
            *held.by_code.entry(shown.to_owned()).or_default().entry(state).or_default() += letters;
        }
    }

    /// The number is not known.
    pub fn forget(&self) {
        lock(&self.0).is_known = false;
    }

    /// The metric `name`.
    pub fn collector(&self, name: &'static str) -> Box<dyn Collector> {
        Box::new(Held { name, held: self.clone() })
    }
}

#[derive(Debug)]
struct Held {
    name: &'static str,
    held: DeadLettersHeld,
}

impl Collector for Held {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let held = lock(&self.held.0);
        let help =
            "Dead letters in the table, by code and state; absent while the number is unknown";
        let mut family = encoder.encode_descriptor(self.name, help, None, MetricType::Gauge)?;
        for (code, states) in held.by_code.iter().filter(|_| held.is_known) {
            for state in DeadLetterState::ALL {
                let letters = states.get(&state).copied().unwrap_or_default();
                let labels = [("code", code.as_str()), ("state", state.name())];
                ConstGauge::new(gauge(letters)).encode(family.encode_family(&labels)?)?;
            }
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
    fn a_state_without_dead_letters_is_0_and_an_unknown_number_is_absent() {
        let (mut registry, held) = (Registry::default(), DeadLettersHeld::default());
        registry.register_collector(held.collector("held"));
        let shown = || {
            let mut text = String::new();
            text::encode(&mut text, &registry).unwrap();
            let lines = text.lines().filter(|line| line.starts_with("held{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(), Vec::<String>::new());
        held.set([("bad_magic", DeadLetterState::Open, 3)].into_iter());
        assert_eq!(shown().len(), 6);
        assert_eq!(shown()[0], "held{code=\"bad_magic\",state=\"open\"} 3");
        assert_eq!(shown()[1], "held{code=\"bad_magic\",state=\"pending\"} 0");
        held.set([("bad_magic", DeadLetterState::Resolved, 3)].into_iter());
        assert_eq!(shown()[0], "held{code=\"bad_magic\",state=\"open\"} 0");
        // It failed again with another code.
        held.set([("trailing_bytes", DeadLetterState::FailedAgain, 3)].into_iter());
        assert_eq!(shown().len(), 12);
        assert!(shown()[..6].iter().all(|line| line.ends_with(" 0")), "{:?}", shown());
        held.forget();
        assert_eq!(shown(), Vec::<String>::new());
        held.set(std::iter::empty());
        assert!(shown().iter().all(|line| line.ends_with(" 0")), "{:?}", shown());
        assert_eq!(shown().len(), 12);
    }

    #[test]
    fn any_number_of_codes_is_bounded_and_each_dead_letter_is_counted() {
        let held = DeadLettersHeld::default();
        let codes: Vec<_> = (0..10_000).map(|number| format!("code_{number}")).collect();
        held.set(codes.iter().map(|code| (code.as_str(), DeadLetterState::Open, 1)));
        let held = lock(&held.0);
        assert_eq!(held.by_code.len(), CODES_MAX + 1);
        assert_eq!(held.by_code[OTHER][&DeadLetterState::Open], 10_000 - CODES_MAX as u64);
    }
}
