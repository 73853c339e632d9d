#![expect(clippy::disallowed_methods, reason = "notes the time at which the process starts")]
//! The metrics that every process with an admin port has. Their names are those of Prometheus' own client
//! libraries, so they have no prefix.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A value that differs from the one before shows a restart, also of a process that has counted nothing yet.
const START_TIME: &str = "process_start_time_seconds";

/// Seconds from 1970 to the first access.
static STARTED: LazyLock<f64> = LazyLock::new(|| {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
});

/// Notes the present time as the start of the process; only the first call has an effect.
pub(crate) fn note_start() {
    LazyLock::force(&STARTED);
}

/// A registry of these metrics.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let started = Gauge::<f64, AtomicU64>::default();
    started.set(*STARTED);
    registry.register(START_TIME, "Start of the process, seconds since 1970", started);
    registry
}
