//! A short run with faults in all parts; `make chaos` is the long one.

use harness::OwnStack;
use harness::chaos::{Budget, run};

/// Enough for several kinds of faults, also if one stop of a member takes fifteen seconds.
const SHORT: Budget =
    Budget { seed: 5, faults: 12, clicks: 30_000, seconds: 40, only: None, settle_seconds: 240 };

#[test]
fn under_any_fault_no_click_is_ever_lost_or_counted_twice() {
    let report = run(&OwnStack::up(), SHORT, &|line| println!("{line}"));
    println!("{report}");
    assert!(report.good(), "{report}");
    assert!(report.observed() >= 2, "{report}");
    assert!(report.outcome.minted > 0 && report.outcome.bad.0 > 0, "{report}");
    assert!(report.samples() >= 5 && report.offsets_checked() > 0, "{report}");
}
