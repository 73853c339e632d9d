//! A short run with hostile input; the long one is `make soak ONLY=hostile`.

use harness::Backends;
use harness::hostile::{HostileBudget, run};

#[test]
fn seeded_hostile_input_costs_no_more_than_its_bounds_and_loses_no_honest_click() {
    let budget = HostileBudget { seed: 5, seconds: 6 };
    let report = run(Backends::find(), budget, &|line| println!("{line}"));
    println!("{report}");
    assert!(report.good(), "{report}");
    assert!(report.rounds >= 1 && report.taken.0 > 0, "{report}");
}
