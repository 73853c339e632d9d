//! A dead letter for tests.

use records::dead_letters::redrive_decision::{LetterLocation, SelectedLetter};
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::state::DeadLetterState;

/// A dead letter of which no copy was sent.
pub(crate) fn letter(state: DeadLetterState) -> SelectedLetter {
    SelectedLetter {
        origin: "t:0:7:1000".parse().unwrap(),
        state,
        code: "bad_magic".to_owned(),
        redrive: 0,
        copies: 0,
        last_copy: 0,
        announced: None,
        has_changed: false,
        changed_at_us: 0,
        stub: String::new(),
        letter: LetterLocation { topic: "t.dlq".to_owned(), partition: 0, offset: 0 },
        value_bytes: 10,
        first_failed_at_ms: 2000,
    }
}

/// A plan that changes states.
pub(crate) fn plan() -> RedrivePlan {
    RedrivePlan {
        topic: "t".to_owned(),
        condition: "true".to_owned(),
        to: None,
        repair: None,
        force: false,
        limit: None,
        rate: None,
        actor: "anna".to_owned(),
        reason: String::new(),
    }
}
