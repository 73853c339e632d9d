//! The real driver in many small worlds; `make sim` lets more of them live.

use harness::sim::{Counts, run};

/// Worlds; a thread each half.
const SEEDS: u64 = 400;

#[test]
fn in_every_simulated_world_nothing_is_lost_and_no_position_passes_what_is_not_durable() {
    let half = |first: u64| {
        let mut counts = Counts::default();
        for seed in (first..=SEEDS).step_by(2) {
            let outcome = run(seed);
            let again = format!("make sim SEEDS=1 FROM={seed}");
            assert!(outcome.violations.is_empty(), "{again}: {:#?}", outcome.violations);
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
    // A storm in which nothing happens proves nothing.
    for happened in [
        counts.failed_commits,
        counts.failed_inserts,
        counts.letters,
        counts.crashes,
        counts.moves,
        counts.cuts,
    ] {
        assert!(happened > SEEDS / 4, "{counts:?}");
    }
    assert_eq!(run(7), run(7), "a seed decides everything");
}
