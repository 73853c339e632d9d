#![expect(clippy::disallowed_methods, reason = "between two looks time passes")]
//! Whether threads have to wait for a core, by the system's own account of pressure.
//!
//! Linux counts the time in which some thread was ready and none of the cores was free for it, for
//! the container where it tells, else for the machine. Where it tells nothing, cores are never short.

use std::time::{Duration, Instant};

/// The container's account, and the machine's.
const ACCOUNTS: [&str; 2] = ["/sys/fs/cgroup/cpu.pressure", "/proc/pressure/cpu"];
/// The system sums up every two seconds.
const EVERY: Duration = Duration::from_secs(2);
/// Share of the time in which somebody waits, from which on cores are short.
const SHORT: f64 = 0.25;

/// Looks at the account now and then.
#[derive(Debug, Default)]
pub struct Cores {
    last: Option<(Instant, u64)>,
    short: bool,
}

impl Cores {
    /// Whether they are short.
    pub fn are_short(&mut self) -> bool {
        let due = self.last.is_none_or(|(at, _)| at.elapsed() >= EVERY);
        if due && let Some(waited) = waited() {
            self.told(Instant::now(), waited);
        }
        self.short
    }

    /// Takes what the account says.
    fn told(&mut self, now: Instant, waited: u64) {
        self.short = self.last.is_some_and(|(at, before)| {
            let waited = Duration::from_micros(waited.saturating_sub(before));
            waited.as_secs_f64() > SHORT * (now - at).as_secs_f64()
        });
        self.last = Some((now, waited));
    }
}

/// Microseconds in which some thread waited, since the system's start.
fn waited() -> Option<u64> {
    ACCOUNTS.iter().find_map(|account| total(&std::fs::read_to_string(account).ok()?))
}

/// The total of the line `some`.
fn total(account: &str) -> Option<u64> {
    let some = account.lines().find(|line| line.starts_with("some "))?;
    some.split_once("total=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_account_is_read_and_anything_else_is_none() {
        let text = "some avg10=89.05 avg60=90.85 avg300=90.83 total=4314427287\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(total(text), Some(4_314_427_287));
        for odd in ["", "full avg10=0.00 total=1\n", "some avg10=0.00\n", "some total=x\n"] {
            assert_eq!(total(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn cores_are_short_when_somebody_waited_a_quarter_of_the_time_between_two_looks() {
        let (mut cores, began) = (Cores::default(), Instant::now());
        let mut told = |seconds, waited| {
            cores.told(began + Duration::from_secs(seconds), waited);
            cores.short
        };
        assert!(!told(0, 9_000_000), "one look tells nothing");
        assert!(told(2, 9_600_000));
        assert!(!told(4, 10_000_000));
        // The account began anew.
        assert!(!told(6, 5));
    }
}
