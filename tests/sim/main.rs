//! `make sim`: runs many simulations, each from its seed, with the real driver under paused time.
//!
//! SEEDS is the number of seeds, FROM the first one. The program prints each seed that fails; the same
//! seed fails again.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::sim::{SimCounts, run};

/// Failed seeds that are printed with their violations.
const SHOWN: usize = 5;
/// Simulations between two progress lines.
const PRINT_EVERY: u64 = 10_000;

fn main() -> Result<ExitCode> {
    let seeds = number("SEEDS")?.unwrap_or(2000);
    let from = number("FROM")?.unwrap_or(1);
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let totals = Mutex::new((SimCounts::default(), BTreeSet::new()));
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
                    let mut totals = totals.lock().expect("no simulation panics");
                    totals.0 += outcome.counts;
                    if !outcome.violations.is_empty() {
                        if totals.1.len() < SHOWN {
                            println!("seed {seed}: {}", outcome.violations.join("\n  "));
                            println!("  repeat with: make sim SEEDS=1 FROM={seed}");
                        }
                        totals.1.insert(seed);
                    }
                    let done = seed + 1 - from;
                    if done.is_multiple_of(PRINT_EVERY) {
                        println!("{done} of {seeds}, {} failed", totals.1.len());
                    }
                }
            });
        }
    });
    let (counts, failed) = totals.into_inner().expect("no simulation panics");
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
