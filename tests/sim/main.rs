//! `make sim`: many worlds, each from a seed, with the real driver and pipeline under paused time.
//!
//! SEEDS is the number of worlds, FROM the first seed; a seed that fails is printed and fails again.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::sim::{Counts, run};

/// Failures that are shown.
const SHOWN: usize = 5;
/// Worlds between two reports of the progress.
const REPORT_EVERY: u64 = 10_000;

fn main() -> Result<ExitCode> {
    let seeds = number("SEEDS")?.unwrap_or(2000);
    let from = number("FROM")?.unwrap_or(1);
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let totals = Mutex::new((Counts::default(), BTreeSet::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        break;
                    }
                    let outcome = run(seed);
                    let mut totals = totals.lock().expect("no world panics");
                    totals.0 += outcome.counts;
                    if !outcome.violations.is_empty() {
                        if totals.1.len() < SHOWN {
                            println!("seed {seed}: {}", outcome.violations.join("\n  "));
                            println!("  again with: make sim SEEDS=1 FROM={seed}");
                        }
                        totals.1.insert(seed);
                    }
                    let done = seed + 1 - from;
                    if done.is_multiple_of(REPORT_EVERY) {
                        println!("{done} of {seeds}, {} failed", totals.1.len());
                    }
                }
            });
        }
    });
    let (counts, failed) = totals.into_inner().expect("no world panics");
    println!("{counts:?}");
    println!(
        "sim: {seeds} seeds from {from} in {} s, {} failed",
        began.elapsed().as_secs(),
        failed.len()
    );
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

fn number(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(Some(text.parse().context(name.to_owned())?)),
        _ => Ok(None),
    }
}
