//! The plan of a run, from the environment.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::workload::Workload;

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

/// The lines of the backlog with the clicks of the wide profile.
pub const BACKLOG_WIDE: [&str; 3] =
    ["cpu_us_per_click_wide", "bytes_per_click_wide", "processor_rss_mb_wide"];

/// The lines of enrichment, which need no running parts.
pub const ENRICH: [&str; 3] = [Workload::Usual.line(), Workload::Hot.line(), Workload::Wide.line()];

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

/// CPU microseconds of a click from the request to the merged row, against nginx, at 5,000 a second.
pub const COST_5K: &str = "click_cost_5k";
/// The same at 12,000 a second.
pub const COST_12K: &str = "click_cost_12k";
/// Bytes of a click in the log, at 5,000 a second.
pub const LOG_BYTES: &str = "log_bytes_per_click";
/// All lines of the cost of a click.
pub const COSTS: [&str; 3] = [COST_5K, COST_12K, LOG_BYTES];

/// CPU microseconds per click of a replay worker, against `processors run`.
pub const REPLAY_CPU: &str = "replay_worker_cpu";
/// The time from a live click to its row beside a throttled replay, against the one without a replay.
pub const BESIDE_REPLAY: &str = "live_p99_beside_replay";
/// All lines of replays.
pub const REPLAYS: [&str; 2] = [REPLAY_CPU, BESIDE_REPLAY];

/// CPU microseconds per click of the processors on three shards, against one server.
pub const SHARDS_CPU: &str = "shards_cpu";

/// All lines of the dashboards.
pub const DASHBOARDS: &str = "dashboards";
/// The lines of one of them.
const DASHBOARD: [&str; 3] = ["dashboards_overview", "dashboards_link", "dashboards_bots"];

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
    /// Pairs of turns that measure the cost of a click.
    pub cost_pairs: u64,
    /// Time of one such turn.
    pub cost_window: Duration,
    /// Clicks in the table of the dashboards.
    pub dashboard_clicks: u64,
    /// Runs of each of their queries.
    pub dashboard_rounds: u64,
    /// The folder with the programs of an earlier commit, to compare the cost of a click.
    pub before: Option<PathBuf>,
    /// Whether the first round of our processors is profiled.
    pub profiled: bool,
    began: Instant,
}

impl Plan {
    /// Reads ONLY, CLICKS, ROUNDS, PAIRS, SECONDS, BEFORE and PERF.
    pub fn of_environment() -> Result<Self> {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let number = |name: &str, otherwise| match text(name).as_str() {
            "" => Ok(otherwise),
            text => text.parse().context(name.to_owned()),
        };
        let only: Vec<_> = text("ONLY").split([',', ' ']).map(str::to_owned).collect();
        let only: Vec<_> = only.into_iter().filter(|name| !name.is_empty()).collect();
        let before = Some(text("BEFORE")).filter(|text| !text.is_empty()).map(PathBuf::from);
        if let Some(folder) = &before {
            let shown = folder.display();
            ensure!(
                folder.is_dir(),
                "BEFORE={shown}: no such folder; use one with `producer` and `processors` of an earlier commit"
            );
        }
        for name in &only {
            let all = [
                &[DELAY, DASHBOARDS, SHARDS_CPU][..],
                &BACKLOG,
                &BACKLOG_WIDE,
                &ENRICH,
                &REDIRECTS,
                &COSTS,
                &REPLAYS,
                &DASHBOARD,
            ]
            .concat();
            ensure!(all.contains(&name.as_str()), "ONLY={name}: use one of {}", all.join(", "));
        }
        Ok(Self {
            only,
            clicks: number("CLICKS", 3_000_000)?.max(1),
            rounds: number("ROUNDS", 3)?.max(1),
            pairs: number("PAIRS", 9)?.max(1),
            window: Duration::from_secs(number("SECONDS", 5)?.max(1)),
            cost_pairs: number("PAIRS", 5)?.max(1),
            cost_window: Duration::from_secs(number("SECONDS", 60)?.max(1)),
            dashboard_clicks: number("CLICKS", 18_000_000)?.max(60),
            dashboard_rounds: number("ROUNDS", 21)?.max(1),
            before,
            profiled: text("PERF") == "1",
            began: Instant::now(),
        })
    }

    /// Whether the line `name` is selected.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Whether lines of a dashboard are selected.
    pub fn wants_dashboard(&self, name: &str) -> bool {
        self.wants(DASHBOARDS) || self.wants(&format!("{DASHBOARDS}_{name}"))
    }

    /// Whether lines of any dashboard are selected.
    pub fn wants_dashboards(&self) -> bool {
        self.wants(DASHBOARDS) || DASHBOARD.into_iter().any(|name| self.wants(name))
    }

    /// Prints one line with the time since the start.
    pub fn report(&self, text: &str) {
        println!("{:7.1}  {text}", self.began.elapsed().as_secs_f64());
    }
}
