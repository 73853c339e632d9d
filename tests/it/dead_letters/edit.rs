//! `processors dlq edit`, `discard` and `reopen`: repairs by hand, and states that an operator sets.

use harness::{Exit, Raw, World, program};
use serde_json::Value;

/// Runs `processors dlq` with this editor.
fn edit(world: &World, editor: &str, args: &[&str]) -> Exit {
    let set = [("CLICKTRAIL_ACTOR", "a test"), ("VISUAL", editor)];
    let mut command = world.command("processors", &set);
    command.args(["dlq", "edit"]).args(args);
    world.start(command).end()
}

fn states(world: &World) -> String {
    world.query("SELECT origin_offset, state FROM dead_letters ORDER BY origin_offset")
}

/// The repair of the dead letter at this offset: its kind, hexadecimal event id, and value.
fn repair(world: &World, offset: u64) -> Vec<String> {
    let row = world.query(&format!(
        "SELECT repair, lower(hex(event_id)), lower(hex(value)) \
         FROM dead_letter_repairs FINAL WHERE origin_offset = {offset}"
    ));
    row.trim().split('\t').map(str::to_owned).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A click without an id at offset 3 of partition 0, and one with trailing bytes at offset 7, which is
/// returned without them.
fn poisoned(world: &World) -> Vec<u8> {
    let value = || world.good(0, 1).remove(0).value.unwrap();
    let (mut nil, good) = (value(), value());
    nil[5..21].fill(0);
    let raw = |value| Raw { value: Some(value), ..Raw::default() };
    let mut records = world.good(0, 3);
    records.push(raw(nil));
    records.extend(world.good(0, 3));
    records.push(raw([&good[..], &[7, 7]].concat()));
    world.kafka.produce(&world.topic, &records);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(world);
    processors.until_letters_copied(world);
    good
}

#[test]
fn a_record_is_edited_and_a_state_is_set_and_revoked() {
    let world = World::new("edit");
    world.setup();
    let good = poisoned(&world);
    assert_eq!(states(&world), "3\topen\n7\topen");
    an_edit_is_stored_once_and_a_wrong_one_is_kept(&world);

    // Trailing bytes are gone in the form already.
    let form = edit(&world, "false", &["0:7", "--print"]).expect_code(0).out;
    assert!(form.contains("# 2 bytes follow the datum"), "{form}");
    let file = world.folder().join("form.json");
    std::fs::write(&file, form).unwrap();
    let file = file.to_str().unwrap();
    let args = ["0:7", "--json", "--file", file];
    let stored: Value =
        serde_json::from_str(&edit(&world, "false", &args).expect_code(0).out).unwrap();
    assert!(stored["redrive"].as_str().unwrap().starts_with("processors dlq redrive "));
    assert_eq!(repair(&world, 7), ["edit".to_owned(), hex(&good[5..21]), hex(&good)]);
    assert!(edit(&world, "false", &args).expect_code(0).out.contains("\"stored\":false"));
    // The editor stores another repair while it runs.
    let other = std::fs::read_to_string(file).unwrap().replace("good", "other");
    std::fs::write(file, other).unwrap();
    let program = program("processors");
    let editor = format!("{} dlq edit 0:7 --file {file} && sed -i s/good/late/", program.display());
    let late = edit(&world, &editor, &["0:7"]).expect_code(64);
    assert!(late.err.contains("another repair was stored meanwhile"), "{late:?}");
    assert_eq!(
        world.number("SELECT countIf(value LIKE '%other%') FROM dead_letter_repairs FINAL"),
        1
    );
    assert_eq!(states(&world), "3\topen\n7\topen", "an edit sends nothing");

    states_are_set_and_revoked(&world);
}

fn an_edit_is_stored_once_and_a_wrong_one_is_kept(world: &World) {
    let unchanged = edit(world, "true", &["0:3"]).expect_code(0);
    assert!(unchanged.out.contains("nothing is changed"), "{unchanged:?}");
    let wrong = edit(world, "sed -i s/slug/slog/", &["0:3"]).expect_code(64);
    assert!(wrong.err.contains("a click has no field slog"), "{wrong:?}");
    let (_, kept) = wrong.err.split_once("(the file is kept: ").unwrap();
    let kept = kept.split_once(';').unwrap().0;
    assert!(std::fs::read_to_string(kept).unwrap().contains("\"slog\": \"good\""));
    std::fs::remove_file(kept).unwrap();
    assert_eq!(world.number("SELECT count() FROM dead_letter_repairs"), 0);

    let set_id = "sed -i 's/\"0[-0]*\"/null/'";
    edit(world, set_id, &["0:3", "--reason", "no id"]).expect_code(0);
    let first = repair(world, 3);
    assert_ne!(first[1], "0".repeat(32));
    // A later edit keeps the id that the first one set.
    let other = edit(world, "sed -i 's/\"event_id\": \"0/\"event_id\": \"1/'", &["0:3"]);
    assert!(other.expect_code(64).err.contains("event_id is a valid key fact"));
    edit(world, "sed -i s/good/better/", &["0:3"]).expect_code(0);
    let second = repair(world, 3);
    assert_eq!((&second[0], &second[1]), (&"edit".to_owned(), &first[1]));
    assert_ne!(second[2], first[2]);
    let events = "SELECT kind, reason, actor FROM dead_letter_events ORDER BY at";
    assert_eq!(world.query(events), "edited\tno id\ta test\nedited\t\ta test");
}

fn states_are_set_and_revoked(world: &World) {
    let events = |kind| {
        world.number(&format!("SELECT count() FROM dead_letter_events WHERE kind = '{kind}'"))
    };
    let run = |args: &[&str], code| world.dlq(args).end().expect_code(code);
    // Two are too many without a terminal, and all of them without a filter.
    run(&["discard", "--state", "open", "--reason", "x"], 64);
    run(&["discard", "--reason", "x", "--yes"], 64);
    let all = ["discard", "--state", "open", "--reason", "x", "--yes"];
    let counted = run(&[&all[..], &["--dry-run", "--json"]].concat(), 0).out;
    assert_eq!(counted.trim(), r#"{"discarded":2,"dry_run":true,"unchanged":{}}"#);
    assert_eq!(events("discarded"), 0);
    run(&["discard", "0:3", "--reason", "it's ?"], 0);
    let again = run(&["discard", "0:3", "--reason", "x"], 0);
    assert!(again.out.contains("parked); 1 is discarded\n"), "{again:?}");
    assert!(again.out.contains(":0:3:") && again.out.ends_with(" is discarded\n"), "{again:?}");
    let unknown = run(&["discard", "--group", "deadbeef", "--reason", "x"], 1);
    assert!(unknown.out.contains("discard: no dead letter matches"), "{unknown:?}");
    assert_eq!((events("discarded"), states(world).as_str()), (1, "3\tdiscarded\n7\topen"));
    let reason = "SELECT reason FROM dead_letter_events WHERE kind = 'discarded'";
    assert_eq!(world.query(reason).trim(), "it\\'s ?");
    assert!(edit(world, "true", &["0:3"]).expect_code(64).err.contains("dlq reopen"));

    run(&["reopen", "--partition", "0"], 0);
    let again = run(&["reopen", "--partition", "0", "--json"], 1).out;
    assert_eq!(again.trim(), r#"{"dry_run":false,"reopened":0,"unchanged":{"open":2}}"#);
    assert_eq!((events("reopened"), states(world).as_str()), (1, "3\topen\n7\topen"));
    run(&all, 0);
    assert_eq!(states(world), "3\tdiscarded\n7\tdiscarded");
}
