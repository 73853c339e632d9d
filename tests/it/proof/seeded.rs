//! The model must find bugs: each of these trackers is broken on purpose, and each must be caught.
//!
//! Tracker and model are `std` only, so that a bare `rustc` builds them in a second.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is broken, the line that is right, and the one that is not.
const BUGS: &[(&str, &str, &str)] = &[
    (
        "a later acknowledgement passes an earlier failure",
        "pop_front_if(|piece| piece.durable)",
        "pop_back_if(|piece| piece.durable)",
    ),
    ("what was sent counts as durable", "next, durable: false }", "next, durable: true }"),
    (
        "what was sent is committed",
        "vec![Action::Commit { epoch: self.epoch, position: self.durable }]",
        "vec![Action::Commit { epoch: self.epoch, position: self.next }]",
    ),
    (
        "an assignment that ended still commits",
        "Input::Ended => {\n                self.life = None;",
        "Input::Ended => {",
    ),
    (
        "what was refused is never asked again",
        "self.doubted = self.asked.take();",
        "self.doubted = self.asked;",
    ),
    (
        "an operator's reset is overrun",
        "if actions.iter().any(|action| matches!(action, Action::Moved { .. })) {",
        "if false {",
    ),
    ("a lost answer is taken for a reset", "[ours, self.doubted.take()]", "[ours, None]"),
    (
        "two commits are under way at once",
        "if self.asked.is_some() || self.committed == Some(self.durable) {",
        "if self.committed == Some(self.durable) {",
    ),
    (
        "an acknowledgement is not noted",
        "self.committed = Some(position);\n                (self.asked",
        "(self.asked",
    ),
    ("what became durable is not noted", "piece.durable = true;", "piece.durable = false;"),
    (
        "the answer for one batch is taken for all",
        "self.under_way.iter_mut().filter(|piece| piece.batch == batch)",
        "self.under_way.iter_mut().filter(|_| batch > 0)",
    ),
    (
        "what was sent is durable as soon as something is",
        "self.durable = piece.next;",
        "self.durable = self.next.max(piece.next);",
    ),
    (
        "what became durable early is left behind by what came before it",
        "while let Some(piece) = self",
        "if let Some(piece) = self",
    ),
    (
        "a gap is taken for one more offset",
        "self.durable = piece.next;",
        "self.durable += 1 + 0 * piece.next;",
    ),
    ("a gap is taken for a jump", "if first < self.next {", "if first != self.next {"),
    ("what follows is taken for a jump", "if first < self.next {", "if first <= self.next {"),
    ("a jump is not noticed", "if first < self.next {", "if first < 0 {"),
    ("where reading began is not noted", "next: position,", "next: 0,"),
    (
        "a jump keeps what was under way",
        "Self { asked: self.asked, ..",
        "Self { asked: self.asked, under_way: std::mem::take(&mut self.under_way), ..",
    ),
    ("a jump forgets the commit that is under way", "Self { asked: self.asked, ..", "Self { .."),
    (
        "the answer to an earlier assignment's commit is taken for this one's",
        "self.life.as_mut().filter(|life| life.epoch == epoch)",
        "self.life.as_mut().filter(|_| epoch > 0)",
    ),
    (
        "what is found while a commit is under way is taken for a move",
        "if self.asked.is_some() {",
        "if false {",
    ),
    (
        "a reset is told with our own position",
        "Action::Moved { ours, theirs: position }",
        "Action::Moved { ours: position, theirs: ours }",
    ),
    (
        "a reset backward is not noticed",
        "Some(ours) if !expected",
        "Some(ours) if !expected && ours < position",
    ),
    (
        "a reset forward is not noticed",
        "Some(ours) if !expected",
        "Some(ours) if !expected && ours > position",
    ),
    (
        "a doubt outlasts the look that ended it",
        "[ours, self.doubted.take()]",
        "[ours, self.doubted]",
    ),
    (
        "a doubt outlasts the acknowledgement that ended it",
        "(self.asked, self.doubted) = (None, None);",
        "self.asked = None;",
    ),
    (
        "a refusal is taken for an acknowledgement",
        "self.doubted = self.asked.take();",
        "self.committed = self.asked.take();",
    ),
    (
        "an acknowledgement is taken for all that is durable by now",
        "self.committed = Some(position);",
        "self.committed = Some(self.durable.max(position));",
    ),
    ("a stop does not wait for what is under way", "life.under_way.is_empty()", "true"),
    ("a stop does not wait for a commit's answer", "&& life.asked.is_none()", "&& true"),
];

/// Bugs that are built and walked at once.
const AT_ONCE: usize = 2;

#[test]
fn the_model_catches_every_seeded_bug() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the top of the clone");
    let tracker = fs::read_to_string(top.join("processors/src/flow/tracker.rs")).unwrap();
    let model = fs::read_to_string(top.join("tests/it/proof/model.rs")).unwrap();
    // With fewer faults: the whole walk of the healthy case is the model's own test.
    let few = model.replace("const FAULTS: u8 = 3;", "const FAULTS: u8 = 1;");
    assert!(few != model && holds(&tracker, &few), "the healthy case");
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((bug, right, wrong)) = BUGS.get(next.fetch_add(1, Ordering::SeqCst))
                {
                    let times = tracker.matches(right).count();
                    assert_eq!(times, 1, "{bug}: the tracker reads otherwise by now");
                    if holds(&tracker.replace(right, wrong), &model) {
                        missed.lock().unwrap().push(*bug);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not caught: {missed:#?}");
    println!("{} seeded bugs caught", BUGS.len());
}

/// Whether the model passes with this tracker.
fn holds(tracker: &str, model: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("tracker.rs"), tracker).unwrap();
    fs::write(file("model.rs"), model).unwrap();
    fs::write(file("main.rs"), "mod model;\nmod tracker;\n").unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "--test", "-o"])
        .args([file("it"), file("main.rs")])
        .stdin(Stdio::null())
        .output()
        .expect("rustc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(file("it")).stdin(Stdio::null()).output().expect("the model runs");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("every_interleaving"), "the model did not run: {text}");
    ran.status.success()
}
