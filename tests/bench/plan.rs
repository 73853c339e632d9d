//! The plan of a run, from the environment.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The line of the time from a click to its row.
pub const DELAY: &str = "click_to_row_p99_ms";
/// The lines that need a backlog.
pub const BACKLOG: [&str; 5] = [
    "backlog_vs_kafka_engine",
    "backlog_vs_insert_limit",
    "cpu_us_per_click",
    "bytes_per_click",
    "processor_rss_mb",
];

/// The lines of enrichment, which need no running parts.
pub const ENRICH: [&str; 2] = ["enrich_vs_naive", "enrich_hot_vs_naive"];

/// Responses per second, against nginx.
pub const RATE: &str = "redirects_vs_nginx";
/// The 99th percentile without a broker, against the one with a broker.
pub const BROKER_DOWN: &str = "redirect_p99_broker_down";
/// The same with delayed disk syncs.
pub const SLOW_DISK: &str = "redirect_p99_slow_disk";
/// Resident memory with a million links.
pub const MEMORY: &str = "producer_rss_mb";
/// All lines of the redirect.
pub const REDIRECTS: [&str; 4] = [RATE, BROKER_DOWN, SLOW_DISK, MEMORY];

/// CPU microseconds per click of a replay worker, against `processors run`.
pub const REPLAY_CPU: &str = "replay_worker_cpu";
/// The time from a live click to its row beside a throttled replay, against the one without a replay.
pub const BESIDE_REPLAY: &str = "live_p99_beside_replay";
/// All lines of replays.
pub const REPLAYS: [&str; 2] = [REPLAY_CPU, BESIDE_REPLAY];

/// The plan of a run.
pub struct Plan {
    /// Names of the selected lines; empty selects all.
    only: Vec<String>,
    /// Clicks of a round.
    pub clicks: u64,
    /// Rounds of each kind.
    pub rounds: u64,
    /// Pairs of load windows, or of rounds of a replay: one of each state to compare.
    pub pairs: u64,
    /// Time of one such window.
    pub window: Duration,
    /// Whether the first round of our processors is profiled.
    pub profiled: bool,
    began: Instant,
}

impl Plan {
    /// Reads ONLY, CLICKS, ROUNDS, PAIRS, SECONDS and PERF.
    pub fn of_environment() -> Result<Self> {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let number = |name: &str, otherwise| match text(name).as_str() {
            "" => Ok(otherwise),
            text => text.parse().context(name.to_owned()),
        };
        let only: Vec<_> = text("ONLY").split([',', ' ']).map(str::to_owned).collect();
        let only: Vec<_> = only.into_iter().filter(|name| !name.is_empty()).collect();
        for name in &only {
            let all = [&[DELAY][..], &BACKLOG, &ENRICH, &REDIRECTS, &REPLAYS].concat();
            ensure!(all.contains(&name.as_str()), "ONLY={name}: use one of {}", all.join(", "));
        }
        Ok(Self {
            only,
            clicks: number("CLICKS", 3_000_000)?.max(1),
            rounds: number("ROUNDS", 3)?.max(1),
            pairs: number("PAIRS", 9)?.max(1),
            window: Duration::from_secs(number("SECONDS", 5)?.max(1)),
            profiled: text("PERF") == "1",
            began: Instant::now(),
        })
    }

    /// Whether the line `name` is selected.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Prints one line with the time since the start.
    pub fn report(&self, text: &str) {
        println!("{:7.1}  {text}", self.began.elapsed().as_secs_f64());
    }
}
