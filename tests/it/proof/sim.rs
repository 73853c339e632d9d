//! The real driver in many small simulations; `make sim` runs more of them.

use harness::sim::{SimCounts, SinkBug, run, run_with};

/// The number of simulations; each of two threads runs one half.
const SEEDS: u64 = 320;

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
        counts.outages,
        counts.partial_batches,
    ] {
        assert!(happened > SEEDS / 4, "{counts:?}");
    }
    assert_eq!(run(7), run(7), "a seed decides everything");
}

#[test]
fn the_simulation_catches_each_seeded_bug_of_inserts_into_several_shards() {
    for bug in SinkBug::ALL {
        let found = (1..=SEEDS / 4).find(|seed| !run_with(*seed, Some(bug)).violations.is_empty());
        assert!(found.is_some(), "{bug:?} violates nothing");
        println!("{bug:?}: seed {found:?}");
    }
}
