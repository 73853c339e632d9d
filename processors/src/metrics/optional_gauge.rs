//! A gauge that has no value while its value is not known.

use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use service::lock::lock;
use service::number::gauge;

/// Handles share the value.
#[derive(Debug, Clone, Default)]
pub struct OptionalGauge(Arc<Mutex<Option<u64>>>);

impl OptionalGauge {
    /// Sets the value.
    pub fn set(&self, value: Option<u64>) {
        *lock(&self.0) = value;
    }

    /// The metric `name`.
    pub fn collector(&self, name: &'static str, help: &'static str) -> Box<dyn Collector> {
        Box::new(Optional { name, help, gauge: self.clone() })
    }
}

#[derive(Debug)]
struct Optional {
    name: &'static str,
    help: &'static str,
    gauge: OptionalGauge,
}

impl Collector for Optional {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let value = *lock(&self.gauge.0);
        let family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        match value {
            Some(value) => ConstGauge::new(gauge(value)).encode(family),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_gauge_whose_value_is_not_known_is_absent() {
        let (mut registry, lag) = (Registry::default(), OptionalGauge::default());
        registry.register_collector(lag.collector("lag", "Lag"));
        for (value, expected) in [(None, None), (Some(7), Some("lag 7")), (None, None)] {
            lag.set(value);
            let mut text = String::new();
            text::encode(&mut text, &registry).unwrap();
            assert_eq!(text.lines().find(|line| line.starts_with("lag")), expected);
        }
    }
}
