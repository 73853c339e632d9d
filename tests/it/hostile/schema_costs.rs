//! Data of hostile schemas: each record is decoded or refused in bounded time, whatever it holds.

use std::time::{Duration, Instant};

use schemas::writer_schema::DATUM_BYTES_MAX;
use schemas::{DecodeError, Decoder, LinkDecoder, NEWEST};

/// The bound of one record in a test build on a shared machine.
const PATIENCE: Duration = Duration::from_millis(250);

/// The schema of clicks with a first field `x` of this type (Avro JSON).
fn click_after(kind: &str) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
    let kind: serde_json::Value = serde_json::from_str(kind).unwrap();
    let field = serde_json::json!({"name": "x", "type": kind});
    schema["fields"].as_array_mut().unwrap().insert(0, field);
    schema.to_string()
}

/// Types whose data are cheap to write and may be expensive to decode.
fn kinds() -> Vec<String> {
    let wide: Vec<_> =
        (0..500).map(|n| format!(r#"{{"name":"f{n}","type":["null","string"]}}"#)).collect();
    let wide = wide.join(",");
    let mut kinds: Vec<_> = [
        r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
        r#"{"type":"record","name":"T","fields":[{"name":"t","type":{"type":"array","items":"T"}}]}"#,
        r#"{"type":"array","items":{"type":"array","items":{"type":"array","items":"boolean"}}}"#,
        r#"{"type":"map","values":["null","boolean"]}"#,
        r#"{"type":"array","items":["null","string"]}"#,
        r#"{"type":"map","values":{"type":"map","values":"string"}}"#,
        r#"["null",{"type":"array","items":["null",{"type":"map","values":["null","long"]}]}]"#,
        r#"{"type":"fixed","name":"F","size":2147483647}"#,
        r#"{"type":"bytes","logicalType":"big-decimal"}"#,
        r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":3}"#,
        r#""bytes""#,
        r#""string""#,
    ]
    .map(str::to_owned)
    .into();
    kinds.push(format!(
        r#"{{"type":"array","items":{{"type":"record","name":"W","fields":[{wide}]}}}}"#
    ));
    kinds
}

/// Data that repeat a length and a filler up to the longest datum.
fn data() -> Vec<Vec<u8>> {
    // In zigzag: 1, 64, 1,000, 2^62, -1, -2^63, an invalid length, 0.
    let lengths: [&[u8]; 8] = [
        &[2],
        &[0x80, 1],
        &[0xd0, 0x0f],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        &[1],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[0xff; 11],
        &[0],
    ];
    let mut data = Vec::new();
    for length in lengths {
        for filler in [0, 2, 0x80] {
            let piece = [length, &[filler]].concat();
            data.push(piece.repeat(DATUM_BYTES_MAX / piece.len()));
        }
    }
    data
}

#[test]
fn h7_any_datum_of_any_schema_is_decoded_or_refused_in_bounded_time() {
    let data = data();
    for kind in kinds() {
        let decoder = Decoder::new(&click_after(&kind)).unwrap();
        let links = LinkDecoder::new(&click_after(&kind)).unwrap();
        for datum in &data {
            let began = Instant::now();
            let click = decoder.decode(datum).map(drop);
            let link = links.decode(datum).map(drop);
            let took = began.elapsed();
            let start = &datum[..12];
            assert!(took < PATIENCE, "{kind} {start:?}: {took:?}");
            for error in [click.unwrap_err(), link.unwrap_err()] {
                let text = error.to_string();
                assert!(text.len() < 1_000, "{kind} {start:?}: an error of {} bytes", text.len());
            }
        }
    }
}

#[test]
fn h7_a_text_in_place_of_a_number_makes_no_long_error() {
    let schema =
        NEWEST.replace(r#"{"type": "long", "logicalType": "timestamp-micros"}"#, r#""string""#);
    assert_ne!(schema, NEWEST);
    let text = "\u{7f}".repeat(60_000);
    let mut datum = vec![7; 16];
    datum.extend_from_slice(&[0xc0, 0xa9, 0x07]);
    datum.extend_from_slice(text.as_bytes());
    let error = Decoder::new(&schema).unwrap().decode(&datum).unwrap_err();
    assert!(matches!(error, DecodeError::Avro(_)), "{error:?}");
    assert!(error.to_string().len() < 1_000, "{} bytes", error.to_string().len());
}
