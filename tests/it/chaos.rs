//! A short run in which everything breaks; the long one is `make chaos`.

use harness::chaos::{Budget, Report, run};
use stack::{Cache, PortChoice, Stack};

/// Enough for several kinds of faults; the whole test stays below a minute.
const SHORT: Budget =
    Budget { seed: 5, faults: 12, clicks: 30_000, seconds: 15, settle_seconds: 240 };

/// A stack that nobody else uses: its parts are killed.
fn on_a_stack_of_its_own(work: impl FnOnce(&Stack) -> Report) -> Report {
    struct Down(Stack);
    impl Drop for Down {
        fn drop(&mut self) {
            self.0.down().ok();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let choice = PortChoice { auto: true, ..PortChoice::default() };
    let stack = Down(Stack::open(folder.path(), Cache::shared().unwrap(), choice).unwrap());
    stack.0.up().unwrap();
    work(&stack.0)
}

#[test]
fn whatever_breaks_no_click_is_lost_or_counted_twice_at_any_moment() {
    let report = on_a_stack_of_its_own(|stack| run(stack, SHORT, &|line| println!("{line}")));
    println!("{report}");
    assert!(report.good(), "{report}");
    assert!(report.observed() >= 2, "{report}");
    assert!(report.outcome.minted > 0 && report.outcome.bad.0 > 0, "{report}");
    assert!(report.samples() >= 5 && report.offsets_checked() > 0, "{report}");
}
