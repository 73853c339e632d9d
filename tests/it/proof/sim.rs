//! The real driver in many small simulations; `make sim` runs more of them.

use harness::sim::{SimCounts, run};

/// The number of simulations; each of two threads runs one half.
const SEEDS: u64 = 400;

#[test]
fn every_simulation_loses_no_record_and_commits_only_past_durable_ones() {
    let half = |first: u64| {
        let mut counts = SimCounts::default();
        for seed in (first..=SEEDS).step_by(2) {
            let outcome = run(seed);
            let repeat = format!("make sim SEEDS=1 FROM={seed}");
            assert!(outcome.violations.is_empty(), "{repeat}: {:#?}", outcome.violations);
            counts += outcome.counts;
        }
        counts
    };
    let counts = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(2));
        let mut counts = half(1);
        counts += other.join().expect("the other half holds too");
        counts
    });
    println!("{counts:?}");
    // Simulations without faults prove little.
    for happened in [
        counts.failed_commits,
        counts.failed_inserts,
        counts.dead_letters,
        counts.crashes,
        counts.resets,
        counts.expirations,
    ] {
        assert!(happened > SEEDS / 4, "{counts:?}");
    }
    assert_eq!(run(7), run(7), "a seed decides everything");
}
