//! `processors dlq groups`, `ls` and `show` on poison of several kinds.

use std::collections::BTreeMap;
use std::process::Stdio;

use harness::{Exit, Raw, World};
use serde_json::Value;

/// A text that clears a terminal and reverses what follows.
const HOSTILE: &str = "a\u{1b}[2J\u{202e}b";
/// As large as the source topic accepts: the table keeps part of it.
const LARGE: usize = 1_048_000;

/// Writes one bad record of each kind to partition 1; returns their codes in the order of the offsets.
fn poison(world: &World) -> Vec<&'static str> {
    let good = world.good(1, 1)[0].value.clone().unwrap();
    let values = [
        ("empty_value", None),
        ("bad_magic", Some(HOSTILE.as_bytes().to_vec())),
        ("bad_magic", Some(vec![b'x'; LARGE])),
        ("avro_mismatch", Some(good[..good.len() - 3].to_vec())),
        ("trailing_bytes", Some([&good[..], &[7, 7]].concat())),
    ];
    let record = |(_, value): &(&str, Option<Vec<u8>>)| Raw {
        partition: 1,
        key: Some(HOSTILE.as_bytes().to_vec()),
        value: value.clone(),
        headers: vec![(HOSTILE.to_owned(), Some(vec![0xff]))],
    };
    let records: Vec<Raw> = values.iter().map(record).collect();
    world.kafka.produce(&world.topic, &[world.good(0, 5), records].concat());
    values.map(|(code, _)| code).to_vec()
}

fn run(world: &World, args: &[&str]) -> Exit {
    let exit = world.dlq(args).end();
    let hidden = |char: char| char == '\u{1b}' || char == '\u{202e}';
    assert!(!exit.out.contains(hidden) && !exit.err.contains(hidden), "{args:?}: {exit:?}");
    exit
}

fn objects(world: &World, args: &[&str]) -> Vec<Value> {
    let exit = run(world, args).expect_code(0);
    exit.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `show` reports of the record at this offset of partition 1.
fn shown(world: &World, offset: usize, more: &[&str]) -> Value {
    let origin = format!("1:{offset}");
    let found = objects(world, &[&["show", "--json", &origin], more].concat());
    let [object] = &found[..] else { panic!("{found:?}") };
    object.clone()
}

/// How the schema that the frame names decodes it.
fn reading_of_frame(shown: &Value) -> &Value {
    let readings = shown["record"]["value"]["inspection"]["readings"].as_array().unwrap();
    readings.iter().find(|reading| reading["is_of_frame"] == true).unwrap()
}

#[test]
fn groups_list_and_report_name_each_dead_letter_and_hide_no_character() {
    let world = World::new("shown");
    world.setup();
    let codes = poison(&world);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    processors.until_letters_copied(&world);

    let groups = objects(&world, &["groups", "--json"]);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for group in &groups {
        assert_eq!(group["states"]["open"], group["count"], "{group}");
        *counts.entry(group["code"].as_str().unwrap()).or_default() +=
            group["count"].as_u64().unwrap();
    }
    let expected = ["avro_mismatch", "bad_magic", "empty_value", "trailing_bytes"];
    assert_eq!(counts, expected.into_iter().zip([1, 2, 1, 1]).collect());
    let table = run(&world, &["groups"]).expect_code(0).out;
    assert!(table.starts_with("GROUP") && table.contains("next: processors dlq ls --group"));

    listed(&world, &codes);
    reported(&world);
}

fn listed(world: &World, codes: &[&str]) {
    let mut listed = objects(world, &["ls", "--json"]);
    listed.sort_by_key(|letter| letter["offset"].as_u64());
    let found: Vec<_> = listed.iter().map(|letter| letter["code"].as_str().unwrap()).collect();
    assert_eq!(found, codes);
    let group = listed[1]["group"].as_str().unwrap();
    for args in [["--group", group], ["--offset", "1-2"], ["--text", "agic byte"]] {
        let some = objects(world, &[&["ls", "--json", "--since", "1h"], &args[..]].concat());
        assert!(
            some.len() == 2 && some.iter().all(|letter| letter["code"] == "bad_magic"),
            "{args:?}: {some:?}"
        );
    }
    let exit = run(world, &["ls", "--limit", "2"]).expect_code(0);
    assert_eq!(exit.out.lines().count(), 5, "{}", exit.out);
    assert!(exit.out.contains("\n3 more match: raise --limit, or add a filter\n"), "{}", exit.out);
    for args in [["--text", "'; ? {x:String}"], ["--state", "parked,resolved"], ["--until", "1h"]] {
        let exit = run(world, &[&["ls"], &args[..]].concat()).expect_code(0);
        let expected = "no dead letter matches the filter; 5 others are in the table\n";
        assert_eq!(exit.out, expected, "{args:?}");
    }
    run(world, &["ls", "--state", "lost"]).expect_code(64);

    let mut closed = world.command("processors", &[]);
    let mut closed = closed.args(["dlq", "ls"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(closed.stdout.take());
    assert!(closed.wait().unwrap().success(), "a reader may close the pipe");
}

fn reported(world: &World) {
    let cut = shown(world, 3, &[]);
    let stop = &reading_of_frame(&cut)["stop"];
    assert!(!stop["field"].as_str().unwrap().is_empty(), "{stop}");
    assert_eq!(cut["record"]["value"]["rest"]["byte"], stop["byte"]);

    let trailing = shown(world, 4, &[]);
    let reading = reading_of_frame(&trailing);
    assert_eq!(reading["stop"]["field"], "", "{reading}");
    assert_eq!(trailing["record"]["value"]["rest"]["hex"], "0707");
    let slug = reading["fields"].as_array().unwrap().iter().find(|field| field["name"] == "slug");
    assert_eq!(slug.unwrap()["value"], "good");
    assert_eq!(trailing["record"]["key"]["text"], HOSTILE);
    assert_eq!(trailing["record"]["headers"][0]["hex"], "ff");
    assert_eq!(trailing["history"]["failures"][0]["code"], "trailing_bytes");
    assert_eq!(trailing["notes"], serde_json::json!([]));

    let large = shown(world, 2, &[]);
    assert_eq!(large["record"]["is_cut"], true);
    assert_eq!(large["record"]["value"]["bytes"], LARGE);
    let large = shown(world, 2, &["--all"]);
    let value = &large["record"]["value"];
    assert_eq!((&value["kept_bytes"], &value["rest"]["bytes"]), (&LARGE.into(), &LARGE.into()));

    assert_eq!(shown(world, 0, &[])["record"]["value"]["is_null"], true);
    let text = run(world, &["show", "1:1"]).expect_code(0).out;
    assert!(text.contains("a\\u{1b}[2J\\u{202e}b: 0xff"), "{text}");
    assert!(text.contains("|a.[2J") && text.contains("next: processors dlq discard --group"));

    let exit = run(world, &["show", "1:99"]);
    assert_eq!((exit.code, exit.err.contains("no dead letter 1:99")), (Some(1), true), "{exit:?}");
}
