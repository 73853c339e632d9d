//! The model must find bugs: it must fail with each of these seeded bugs in the tracker, or in the parts of
//! a batch, which is durable on some shards only.
//!
//! Both and the model use `std` only, so that `rustc` alone builds them in a second.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bug, the right text and the wrong text.
type Bug = (&'static str, &'static str, &'static str);

/// Bugs of the parts of a batch.
const PART_BUGS: &[Bug] = &[
    (
        "a batch counts as durable when one shard is left",
        "self.unacknowledged.is_empty()",
        "self.unacknowledged.len() < 2",
    ),
    (
        "one acknowledgement is taken for that of all shards",
        "*own != shard",
        "*own != shard && false",
    ),
    ("an acknowledgement is taken for that of the other shards", "*own != shard", "*own == shard"),
    (
        "the rows of one shard are not sent",
        "shards.into_iter().collect();",
        "shards.into_iter().take(1).collect();",
    ),
    ("an acknowledged part is sent without end", "*own != shard", "*own != shard || true"),
];

/// Bugs of the tracker.
const TRACKER_BUGS: &[Bug] = &[
    (
        "a later acknowledgement passes an earlier failure",
        "pop_front_if(|range| range.stored)",
        "pop_back_if(|range| range.stored)",
    ),
    ("a started batch counts as stored", "next, stored: false }", "next, stored: true }"),
    (
        "a started batch is committed",
        "vec![Action::Commit { epoch: self.epoch, position: self.stored }]",
        "vec![Action::Commit { epoch: self.epoch, position: self.next }]",
    ),
    (
        "an assignment that ended still commits",
        "Input::Revoked => {\n                self.assigned = None;",
        "Input::Revoked => {",
    ),
    (
        "a failed commit is never repeated",
        "self.unconfirmed = self.pending.take();",
        "self.unconfirmed = self.pending;",
    ),
    (
        "an operator's reset is overwritten",
        "if actions.iter().any(|action| matches!(action, Action::PositionReset { .. })) {",
        "if false {",
    ),
    ("a lost reply is taken for a reset", "[before, self.unconfirmed.take()]", "[before, None]"),
    (
        "two commits are in flight at once",
        "if self.pending.is_some() || self.committed == Some(self.stored) {",
        "if self.committed == Some(self.stored) {",
    ),
    (
        "an acknowledgement is not noted",
        "self.committed = Some(position);\n                (self.pending",
        "(self.pending",
    ),
    ("a stored batch is not noted", "range.stored = true;", "range.stored = false;"),
    (
        "the report of one stored batch is taken for all",
        "self.in_flight.iter_mut().filter(|range| range.batch == batch)",
        "self.in_flight.iter_mut().filter(|_| batch > 0)",
    ),
    (
        "a started batch counts as stored as soon as another one is",
        "self.stored = range.next;",
        "self.stored = self.next.max(range.next);",
    ),
    (
        "a batch that was stored early is not counted after the batch before it",
        "while let Some(range) = self",
        "if let Some(range) = self",
    ),
    (
        "a gap is taken for one more offset",
        "self.stored = range.next;",
        "self.stored += 1 + 0 * range.next;",
    ),
    ("a gap is taken for a truncation", "if first < self.next {", "if first != self.next {"),
    (
        "the next offset is taken for a truncation",
        "if first < self.next {",
        "if first <= self.next {",
    ),
    ("a truncation is not noticed", "if first < self.next {", "if first < 0 {"),
    ("the position where reading began is not noted", "next: position,", "next: 0,"),
    (
        "a truncation keeps what was in flight",
        "Self { pending: self.pending, ..",
        "Self { pending: self.pending, in_flight: std::mem::take(&mut self.in_flight), ..",
    ),
    (
        "a truncation drops the commit that is in flight",
        "Self { pending: self.pending, ..",
        "Self { ..",
    ),
    (
        "the reply to an earlier assignment's commit is taken for this one's",
        "self.assigned.as_mut().filter(|assigned| assigned.epoch == epoch)",
        "self.assigned.as_mut().filter(|_| epoch > 0)",
    ),
    (
        "a position that is reported while a commit is in flight is taken for a reset",
        "if self.pending.is_some() {",
        "if false {",
    ),
    (
        "a reset is reported with the position of this member",
        "Action::PositionReset { from, to: position }",
        "Action::PositionReset { from: position, to: from }",
    ),
    (
        "a reset backward is not noticed",
        "Some(from) if !expected",
        "Some(from) if !expected && from < position",
    ),
    (
        "a reset forward is not noticed",
        "Some(from) if !expected",
        "Some(from) if !expected && from > position",
    ),
    (
        "an unconfirmed commit is kept after the broker reported its position",
        "[before, self.unconfirmed.take()]",
        "[before, self.unconfirmed]",
    ),
    (
        "an unconfirmed commit is kept after the acknowledgement of the next one",
        "(self.pending, self.unconfirmed) = (None, None);",
        "self.pending = None;",
    ),
    (
        "a failed commit is taken for an acknowledged one",
        "self.unconfirmed = self.pending.take();",
        "self.committed = self.pending.take();",
    ),
    (
        "an acknowledgement is taken for all that is stored by now",
        "self.committed = Some(position);",
        "self.committed = Some(self.stored.max(position));",
    ),
    (
        "a stop does not wait for what is in flight",
        "assigned.in_flight.iter().all(|range| range.stored || waiting(range.batch))",
        "true",
    ),
    ("a stop does not wait for a commit's reply", "&& assigned.pending.is_none()", "&& true"),
];

/// The number of bugs that are built and run at the same time.
const AT_ONCE: usize = 2;

/// The texts that are compiled together.
#[derive(Clone)]
struct Texts {
    tracker: String,
    parts: String,
    model: String,
}

impl Texts {
    /// The texts with a bug.
    fn with(&self, (bug, right, wrong): Bug, is_of_parts: bool) -> Self {
        let mut texts = self.clone();
        let text = if is_of_parts { &mut texts.parts } else { &mut texts.tracker };
        let times = text.matches(right).count();
        assert_eq!(times, 1, "{bug}: the text to replace is not there once");
        *text = text.replace(right, wrong);
        texts
    }
}

#[test]
fn the_model_catches_every_seeded_bug() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the top of the clone");
    let read = |path: &str| fs::read_to_string(top.join(path)).unwrap();
    let right = Texts {
        tracker: read("records/src/flow/tracker.rs"),
        parts: read("records/src/flow/batch_parts.rs"),
        model: read("tests/it/proof/model.rs"),
    };
    // With fewer faults: the model's own test walks all states of the right code.
    let few = right.model.replace("const FAULTS: u8 = 3;", "const FAULTS: u8 = 1;");
    assert!(few != right.model, "the bound of faults is not in the model");
    assert!(holds(&Texts { model: few, ..right.clone() }), "the healthy case");
    let bugs: Vec<_> = PART_BUGS.iter().chain(TRACKER_BUGS).collect();
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(bug) = bugs.get(number) else { break };
                    if holds(&right.with(**bug, number < PART_BUGS.len())) {
                        missed.lock().unwrap().push(bug.0);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not caught: {missed:#?}");
    println!("{} seeded bugs caught", bugs.len());
}

/// Whether the model passes with these texts.
fn holds(texts: &Texts) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("tracker.rs"), &texts.tracker).unwrap();
    fs::write(file("batch_parts.rs"), &texts.parts).unwrap();
    fs::write(file("model.rs"), &texts.model).unwrap();
    fs::write(file("main.rs"), "mod batch_parts;\nmod model;\nmod tracker;\n").unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "--test", "-o"])
        .args([file("it"), file("main.rs")])
        .stdin(Stdio::null())
        .output()
        .expect("rustc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // Only the model: the tests of the files themselves would catch some of the bugs.
    let mut model = Command::new(file("it"));
    model.arg("every_interleaving").stdin(Stdio::null());
    let ran = model.output().expect("the model runs");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("every_interleaving"), "the model did not run: {text}");
    ran.status.success()
}
