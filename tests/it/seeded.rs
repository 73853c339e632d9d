//! The model must find bugs: each of these trackers is broken on purpose, and each must be caught.
//!
//! Tracker and model are `std` only, so that a bare `rustc` builds them in a second.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

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
];

#[test]
fn the_model_catches_every_seeded_bug() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the top of the clone");
    let tracker = fs::read_to_string(top.join("processors/src/flow/tracker.rs")).unwrap();
    let model = fs::read_to_string(top.join("tests/it/model.rs")).unwrap();
    assert!(holds(&tracker, &model), "the healthy case");
    for (bug, right, wrong) in BUGS {
        assert_eq!(tracker.matches(right).count(), 1, "{bug}: the tracker reads otherwise by now");
        assert!(!holds(&tracker.replace(right, wrong), &model), "not caught: {bug}");
    }
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
        .args(["--edition", "2024", "-O", "--test", "-o"])
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
