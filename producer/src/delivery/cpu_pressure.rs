#![expect(clippy::disallowed_methods, reason = "the time between two samples is measured here")]
//! CPU pressure: whether threads wait for a core, measured by pressure stall information of Linux (PSI).
//!
//! Linux counts the time in which a ready thread waits for a core. This file reads the count of the
//! container, or that of the machine if there is none. Without PSI the pressure is never high.

use std::time::{Duration, Instant};

/// The PSI files of the container and of the machine.
const PSI_FILES: [&str; 2] = ["/sys/fs/cgroup/cpu.pressure", "/proc/pressure/cpu"];
/// Linux updates the averages every two seconds.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// The pressure is high if threads wait in more than this share of the time.
const HIGH: f64 = 0.25;

/// Reads PSI periodically.
#[derive(Debug, Default)]
pub struct CpuPressure {
    last: Option<(Instant, u64)>,
    high: bool,
}

impl CpuPressure {
    /// Whether the pressure is high.
    pub fn is_high(&mut self) -> bool {
        let due = self.last.is_none_or(|(at, _)| at.elapsed() >= SAMPLE_EVERY);
        if due && let Some(waited) = waited() {
            self.update(Instant::now(), waited);
        }
        self.high
    }

    /// Updates the pressure by a sample: the microseconds that threads have waited so far.
    fn update(&mut self, now: Instant, waited: u64) {
        self.high = self.last.is_some_and(|(at, before)| {
            let waited = Duration::from_micros(waited.saturating_sub(before));
            waited.as_secs_f64() > HIGH * (now - at).as_secs_f64()
        });
        self.last = Some((now, waited));
    }
}

/// Microseconds in which a thread waited for a core, since the start of the system.
fn waited() -> Option<u64> {
    PSI_FILES.iter().find_map(|psi| total(&std::fs::read_to_string(psi).ok()?))
}

/// The `total` in the line `some` of a PSI file.
fn total(psi: &str) -> Option<u64> {
    let some = psi.lines().find(|line| line.starts_with("some "))?;
    some.split_once("total=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_psi_is_read_and_other_texts_are_ignored() {
        let text = "some avg10=89.05 avg60=90.85 avg300=90.83 total=4314427287\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(total(text), Some(4_314_427_287));
        for odd in ["", "full avg10=0.00 total=1\n", "some avg10=0.00\n", "some total=x\n"] {
            assert_eq!(total(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn pressure_is_high_when_threads_waited_a_quarter_of_the_time_between_two_samples() {
        let (mut pressure, began) = (CpuPressure::default(), Instant::now());
        let mut high_after = |seconds, waited| {
            pressure.update(began + Duration::from_secs(seconds), waited);
            pressure.high
        };
        assert!(!high_after(0, 9_000_000), "one sample gives no pressure");
        assert!(high_after(2, 9_600_000));
        assert!(!high_after(4, 10_000_000));
        // The total started again from 0.
        assert!(!high_after(6, 5));
    }
}
