//! Each published example, from its bytes to its row, as the files in `fixtures/rows` say.
//!
//! `UPDATE_GOLDEN=1` writes them anew; the diff then shows what a changed rule changes.

use std::path::PathBuf;

use harness::root;
use processors::decode::decode;
use processors::enrich::Enricher;
use processors::row::{ClickRow, Place};
use schemas::{Decoder, Encoder, Example, NEWEST, SchemaId, unframe};
use serde_json::Value;

fn examples() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("schemas/examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The row of an example, through the wire format and back.
fn row(example: &Example) -> String {
    let ip = example.client_ip_bytes();
    let mut value = Vec::new();
    Encoder::new(SchemaId(1)).unwrap().encode(&example.click(ip.as_deref()), &mut value).unwrap();
    let (_, datum) = unframe(&value).unwrap();
    let logged_at_ms = example.occurred_at / 1000 + 20;
    let click = decode(&Decoder::new(NEWEST).unwrap(), datum, logged_at_ms).unwrap();
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    let place = Place { topic: "clicks.raw.v1", partition: 3, offset: 41, logged_at_ms, trace_id };
    let mut enricher = Enricher::default();
    let enriched = enricher.enrich(&click);
    let mut row = serde_json::to_value(ClickRow::new(&click, &enriched, place)).unwrap();
    for field in ["event_id", "trace_id"] {
        let bytes = row[field].as_array().unwrap().iter();
        let hex: String = bytes.map(|byte| format!("{:02x}", byte.as_u64().unwrap())).collect();
        row[field] = hex.into();
    }
    let mut text = serde_json::to_string_pretty(&row).unwrap();
    text.push('\n');
    text
}

/// The fields that differ, a line each.
fn difference(expected: &str, row: &str) -> String {
    let read = |text| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (expected, row) = (read(expected), read(row));
    let empty = serde_json::Map::new();
    let fields = |value: &Value| value.as_object().unwrap_or(&empty).clone();
    let mut names: Vec<_> =
        fields(&expected).into_iter().chain(fields(&row)).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let changed = names.iter().filter(|name| expected[name] != row[name]);
    changed
        .map(|name| format!("  {name}: golden {}, now {}\n", expected[name], row[name]))
        .collect()
}

#[test]
fn every_published_example_becomes_the_row_that_its_golden_file_says() {
    let folder = root().join("tests/fixtures/rows");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = String::new();
    let mut expected_files = Vec::new();
    for path in examples() {
        let name = path.file_name().unwrap().to_owned();
        let example = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let row = row(&example);
        let golden = folder.join(&name);
        if update {
            std::fs::write(&golden, &row).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != row {
            wrong += &format!("{}:\n{}", golden.display(), difference(&expected, &row));
        }
        expected_files.push(name);
    }
    assert!(expected_files.len() >= 8, "the examples are gone");
    assert!(wrong.is_empty(), "rows have changed; UPDATE_GOLDEN=1 takes them over\n{wrong}");
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    expected_files.sort();
    assert_eq!(found, expected_files, "a golden file without its example");
}
