//! The ids that lines had before their fields were read in more forms: none may ever change.

use std::collections::HashMap;
use std::path::Path;

use schemas::EventId;
use sha2::{Digest as _, Sha256};

use super::{Parse, lines};
use crate::import::event_id::ImportedEventIds;
use crate::import::{combined_format, nginx_json_format};

/// SHA-256 over id and ordinal (8 bytes, big-endian) of each click of the sample log.
const SAMPLE: &str = "7b3272a65ae40379f221eccd6546b04a20c2d69600e85ec22eb8638c188ca00a";

/// The same of the generated lines, computed by the recipe in another program.
const GENERATED: &str = "00dd8d9aca1cb0bb6749ee7f2c4d0db42f4cc12f178f6683a8f76d5340349bf6";

/// Lines of the combined format, the same in each run: of many seconds, some of them equal.
fn generated_lines() -> Vec<String> {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = (seed * 1_103_515_245 + 12_345) % (1 << 31);
        (seed >> 8) % below
    };
    let mut lines: Vec<String> = Vec::new();
    for number in 0..200_u64 {
        if number % 10 == 9 {
            lines.push(lines[lines.len() - 1].clone());
            continue;
        }
        let client = format!("203.0.{}.{}", random(256), random(256));
        let (minute, second, slug) = (random(60), random(60), random(1_000));
        lines.push(format!(
            "{client} - - [17/May/2015:10:{minute:02}:{second:02} +0000] \"GET /{slug} HTTP/1.1\" 302 0 \"-\" \"M/{}\"",
            random(9)
        ));
    }
    lines
}

fn hash(ids: &[(EventId, u64)]) -> String {
    let mut hash = Sha256::new();
    for (id, ordinal) in ids {
        hash.update(id.as_bytes());
        hash.update(ordinal.to_be_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id of each click of a file, and the number of equal lines before it.
fn ids(file: &Path, parse: Parse) -> Vec<(EventId, u64)> {
    let mut ids = ImportedEventIds::new("access-log");
    let (mut made, mut seen) = (Vec::new(), HashMap::<Vec<u8>, u64>::new());
    lines(file, parse, |line, read| {
        if let Ok(read) = read {
            let ordinal = seen.entry(line.to_vec()).or_default();
            made.push((ids.next(line, read.occurred_at), *ordinal));
            *ordinal += 1;
        }
    });
    made
}

fn of(lines: &[&[u8]], parse: Parse) -> Vec<(String, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    std::fs::write(&file, lines.join(&b'\n')).unwrap();
    ids(&file, parse).into_iter().map(|(id, ordinal)| (id.to_string(), ordinal)).collect()
}

#[test]
fn every_line_of_the_sample_log_keeps_its_id_and_its_ordinal() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/apache_logs");
    if !sample.exists() {
        return;
    }
    let ids = ids(&sample, combined_format::parse);
    assert_eq!((ids.len(), ids.iter().filter(|(_, ordinal)| *ordinal > 0).count()), (9_999, 19));
    assert_eq!(hash(&ids), SAMPLE);
}

#[test]
fn generated_lines_keep_their_ids_and_their_ordinals() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    std::fs::write(&file, generated_lines().join("\n")).unwrap();
    let ids = ids(&file, combined_format::parse);
    assert_eq!((ids.len(), ids.iter().filter(|(_, ordinal)| *ordinal > 0).count()), (200, 20));
    assert_eq!(hash(&ids), GENERATED);
}

#[test]
fn lines_in_any_form_keep_their_ids_and_ordinals() {
    let combined: [&[u8]; 5] = [
        br#"203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 302 0 "-" "M""#,
        br#"203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 302 0 "-" "M""#,
        br#"host.example - me [31/Dec/2016:23:59:60 +0200] "-" 408 - "-" "-""#,
        b"2001:db8::1 - - [17/May/2015:05:35:03 -0430] \"GET /\\xd0\\x9f?q=\\\"x HTTP/1.1\" 200 1 \"http://r/\" \"M\xff\" \"more\" 0.1",
        br#"203.0.113.7:4711 - - [17/May/2015:10:05:03 +0000] "head /a#b HTTP/1.1" 200 1 "-" "M\tT""#,
    ];
    let expected = [
        ("014d6155-8098-7e2e-83b1-57ee9817083a", 0),
        ("014d6155-8098-79e0-b247-685938a2a1fa", 1),
        ("015956e5-8318-7b18-851b-96ddc2f8a8a0", 0),
        ("014d6155-8098-7eca-a593-90fabaa57829", 0),
        ("014d6155-8098-74c1-a3e6-967a6054698a", 0),
    ];
    assert_eq!(of(&combined, combined_format::parse), expected.map(|(id, n)| (id.to_owned(), n)));
    let json: [&[u8]; 3] = [
        br#"{"msec":"1431857103.004","remote_addr":"203.0.113.7","host":"WWW.Example.org:8443","request_uri":"/a?b","status":"302"}"#,
        br#"{"msec":"1431857103.004","remote_addr":"203.0.113.7","host":"WWW.Example.org:8443","request_uri":"/a?b","status":"302"}"#,
        br#" {"time_iso8601":"2015-05-17T12:05:03+02:00","request_uri":"/a"}"#,
    ];
    // The one exception: a line after a byte-order mark has the id of the same line without it.
    let marked = [&b"\xef\xbb\xbf"[..], combined[0]].concat();
    let first = of(&[&marked], combined_format::parse);
    assert_eq!(first, of(&combined[..1], combined_format::parse));
    let expected = [
        ("014d6155-809c-77da-9286-813e1e3febb0", 0),
        ("014d6155-809c-752e-9364-efcb77bd3544", 1),
        ("014d6155-8098-7a7e-9091-e656be7000d1", 0),
    ];
    assert_eq!(of(&json, nginx_json_format::parse), expected.map(|(id, n)| (id.to_owned(), n)));
}
