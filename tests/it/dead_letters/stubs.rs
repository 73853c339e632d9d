//! `processors dlq show` on each kind of stub.

use std::collections::BTreeMap;

use harness::{World, dead_letter};
use records::error::RecordError;
use records::flow::block::{Block, Header, RecordMetadata};
use records::flow::stub::{HEADERS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use schemas::headers as names;
use serde_json::Value;

const GARBAGE: Option<&[u8]> = Some(b"garbage");

/// One stub of each kind, at the offsets 0 to 5 of partition 0.
fn stubs() -> [Block; 6] {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let block = |offset, push: &dyn Fn(&mut Block, RecordMetadata)| {
        let mut block = Block::default();
        push(&mut block, RecordMetadata { partition: 0, offset, epoch: 1, logged_at_ms: now_ms });
        block
    };
    let none = || std::iter::empty::<Header<'_>>();
    let header = Header { name: "own", value: Some(b"1") };
    let refused = block(3, &|block, at| block.push(at, None, GARBAGE, none()));
    [
        block(0, &|block, at| block.push(at, None, Some(&vec![0; VALUE_BYTES_MAX + 1]), none())),
        block(1, &|block, at| block.push(at, Some(&vec![0; KEY_BYTES_MAX + 1]), GARBAGE, none())),
        block(2, &|block, at| block.push(at, None, GARBAGE, (0..=HEADERS_MAX).map(|_| header))),
        // The brokers refused the whole dead letter.
        Block::stub_of(refused.records().next().unwrap()),
        block(4, &|block, at| block.push_without_headers(at, None, GARBAGE)),
        block(5, &|block, at| block.push_unreadable(at, 5, 9)),
    ]
}

/// The headers of each stub that state what it leaves out, without the hashes.
fn left_out() -> [BTreeMap<&'static str, String>; 6] {
    let value = |bytes: usize| (names::STUB_VALUE_BYTES, bytes.to_string());
    let text = |name, text: &str| (name, text.to_owned());
    [
        [value(VALUE_BYTES_MAX + 1)].into(),
        [(names::STUB_KEY_BYTES, (KEY_BYTES_MAX + 1).to_string())].into(),
        [(names::STUB_HEADERS, (HEADERS_MAX + 1).to_string())].into(),
        [value(7), text(names::STUB_HEADERS, "0")].into(),
        [text(names::STUB_HEADERS_UNREADABLE, "true")].into(),
        [text(names::STUB_LAST_OFFSET, "9")].into(),
    ]
}

#[test]
fn the_report_of_a_stub_states_what_the_dead_letter_leaves_out() {
    let world = World::new("stubs");
    world.setup();
    let error = RecordError::BatchUnreadable { last_offset: 9 };
    let stubs = stubs();
    let records = stubs.iter().flat_map(Block::records);
    let letters: Vec<_> = records.map(|record| dead_letter(&world.topic, record, &error)).collect();
    world.kafka.produce(&world.dead_letters(), &letters);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);
    processors.stop().expect_code(0);

    for (offset, left_out) in left_out().into_iter().enumerate() {
        let shown = world.dlq_output(&["show", "--json", &format!("0:{offset}")]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let parts = shown["cut_parts"].as_object().unwrap();
        let hashes = [names::STUB_VALUE_SHA256, names::STUB_KEY_SHA256];
        let stated: BTreeMap<&str, String> = parts
            .iter()
            .filter(|(name, _)| !hashes.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(stated, left_out, "{shown:#}");
        let is_kept = !left_out.contains_key(names::STUB_VALUE_BYTES) && offset != 5;
        assert_eq!(shown["record"]["value"]["is_null"], !is_kept, "{shown:#}");
        assert_eq!(shown["notes"], serde_json::json!([]));
    }
    let text = world.dlq_output(&["show", "0:0"]);
    assert!(text.contains("stub (record): parts of the record were too large"), "{text}");
    assert!(text.contains("value: 1048577 bytes, which the dead letter leaves out"), "{text}");
    let text = world.dlq_output(&["show", "0:5"]);
    assert!(text.contains("no record of the batch at the offsets 5-9 can be read"), "{text}");
}
