//! One round of seeded hostile input to both services. `make soak ONLY=hostile` runs more of it, with records
//! and batches of clicks, whose last ones alone take longer than this test.

use harness::Backends;
use harness::hostile::{self, HostileBudget};

const SEED: u64 = 1;

#[test]
fn seeded_hostile_requests_links_and_outboxes_stay_within_their_bounds() {
    let budget = HostileBudget { seed: SEED, seconds: 1, with_records: false };
    let report = hostile::run(Backends::find(), budget, &|line| println!("{line}"));
    println!("{report}");
    assert!(report.good(), "{:?}", report.wrong());
}
