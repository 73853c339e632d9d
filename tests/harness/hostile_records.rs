//! Records that a hostile sender may write to the topic of clicks, by kind, each with its expected fate.
//!
//! A test uses some of them, or all ([`corpus`]). Their cost is bounded whatever they hold: a click
//! among them is visible as soon as without them.

use schemas::bounds::DAY_US;
use schemas::text_limits::QUERY_BYTES_MAX;
use schemas::writer_schema::DATUM_BYTES_MAX;
use schemas::{Encoder, RawClick, SchemaId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http_client;
use crate::kafka::Raw;

/// The fate of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A row: an unusual, valid click.
    Row,
    /// A dead letter with this code.
    DeadLetter(&'static str),
}

/// A record and its fate.
#[derive(Debug, Clone)]
pub struct HostileRecord {
    /// What is odd about it.
    pub kind: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The record, for partition 0.
    pub record: Raw,
}

impl HostileRecord {
    fn new(kind: impl Into<String>, fate: Fate, value: Vec<u8>) -> Self {
        let record = Raw { value: Some(value), ..Raw::default() };
        Self { kind: kind.into(), fate, record }
    }

    fn dead(kind: impl Into<String>, code: &'static str, value: Vec<u8>) -> Self {
        Self::new(kind, Fate::DeadLetter(code), value)
    }
}

/// A schema that is not one of the topic's subject, and a datum by it.
#[derive(Debug, Clone)]
pub struct ForeignSchema {
    /// What is odd about it.
    pub kind: &'static str,
    /// Avro JSON.
    pub schema: String,
    /// A short datum that takes long to decode.
    pub datum: Vec<u8>,
}

/// 1,000,000,000 in zigzag.
const BILLION: [u8; 5] = [0x80, 0xa8, 0xd6, 0xb9, 0x07];

/// The schema of clicks with a first field of this type, and a click with data of this field.
fn foreign(kind: &'static str, field_type: &str, field: &[u8]) -> ForeignSchema {
    let mut schema: Value = serde_json::from_str(schemas::NEWEST).expect("a schema");
    let field_type: Value = serde_json::from_str(field_type).expect("a type");
    let fields = schema["fields"].as_array_mut().expect("fields");
    fields.insert(0, json!({"name": "x", "type": field_type}));
    let datum = [field, &click(SchemaId(0), &honest())[5..]].concat();
    ForeignSchema { kind, schema: schema.to_string(), datum }
}

/// Schemas of other subjects in which a datum of some bytes claims any number of items.
pub fn foreign_schemas() -> Vec<ForeignSchema> {
    let billion = [&BILLION[..], &[0]].concat();
    let some_billions: Vec<u8> = [&[16][..], &billion.repeat(8), &[0]].concat();
    vec![
        foreign("array of null", r#"{"type":"array","items":"null"}"#, &billion),
        foreign(
            "array of arrays of null",
            r#"{"type":"array","items":{"type":"array","items":"null"}}"#,
            &some_billions,
        ),
        foreign("map of null", r#"{"type":"map","values":"null"}"#, &[2, 2, b'k', 0]),
        foreign(
            "array of empty records",
            r#"{"type":"array","items":{"type":"record","name":"E","fields":[]}}"#,
            &billion,
        ),
        foreign(
            "linked list",
            r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
            &[[2_u8; 5_000].as_slice(), &[0]].concat(),
        ),
        foreign(
            "tree of arrays",
            r#"{"type":"record","name":"T","fields":[{"name":"t","type":{"type":"array","items":"T"}}]}"#,
            &[[2_u8; 5_000].as_slice(), &[0; 5_001]].concat(),
        ),
        foreign("another record", r#""string""#, &[2, b'x']),
    ]
}

/// Registers foreign schemas, each under its own subject `{prefix}-{number}-value`.
///
/// # Panics
/// The registry refuses one.
pub fn register(registry: &str, prefix: &str, schemas: &[ForeignSchema]) -> Vec<SchemaId> {
    let ids = schemas.iter().enumerate().map(|(number, foreign)| {
        register_as(registry, &format!("{prefix}-{number}-value"), &foreign.schema)
    });
    ids.collect()
}

/// Registers one schema under `subject`.
///
/// # Panics
/// The registry refuses it.
pub fn register_as(registry: &str, subject: &str, schema: &str) -> SchemaId {
    let url = format!("{registry}/subjects/{subject}/versions");
    let body = json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
    let headers = [("Content-Type", "application/vnd.schemaregistry.v1+json")];
    let answer = http_client::request("POST", &url, &headers, body).expect("the registry answers");
    let value: Value = serde_json::from_str(&answer.body).expect("JSON");
    let id = value["id"].as_u64().and_then(|id| u32::try_from(id).ok());
    SchemaId(id.unwrap_or_else(|| panic!("{subject}: {}", answer.body)))
}

/// Records by the schemas that [`register`] gave these ids.
pub fn by_foreign_schemas(schemas: &[ForeignSchema], ids: &[SchemaId]) -> Vec<HostileRecord> {
    let record = |(foreign, id): (&ForeignSchema, &SchemaId)| {
        let mut value = Vec::new();
        schemas::frame(*id, &mut value);
        value.extend_from_slice(&foreign.datum);
        HostileRecord::dead(foreign.kind, "schema_of_other_subject", value)
    };
    schemas.iter().zip(ids).map(record).collect()
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A click at the current time.
fn honest() -> RawClick<'static> {
    RawClick::new(Uuid::now_v7(), now_us(), "hostile")
}

/// The framed click, without a check of the lengths of its texts.
fn click(id: SchemaId, click: &RawClick<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    Encoder::new(id).encode(click, &mut value).expect("a click with an id");
    value
}

/// Records that are not in the registry's wire format.
pub fn framing() -> Vec<HostileRecord> {
    let tombstone = HostileRecord {
        kind: "tombstone".to_owned(),
        fate: Fate::DeadLetter("empty_value"),
        record: Raw::default(),
    };
    let mut all = vec![tombstone];
    for (value, code) in [
        (&[0_u8; 0][..], "frame_too_short"),
        (&[0], "frame_too_short"),
        (&[0, 0, 0, 7], "frame_too_short"),
        (b"{\"slug\":\"a\"}", "bad_magic"),
        (&[1, 0, 0, 0, 1, 0], "bad_magic"),
        (&[0xff; 32], "bad_magic"),
    ] {
        all.push(HostileRecord::dead(format!("{value:02x?}"), code, value.to_vec()));
    }
    all
}

/// Records with ids that no registry has, each with another id.
pub fn unknown_ids(count: u32) -> Vec<HostileRecord> {
    let record = |number: u32| {
        // Every second id is larger than any id of a registry.
        let is_large = number.is_multiple_of(2);
        let id = SchemaId(if is_large { u32::MAX - number } else { 2_000_000_000 + number });
        HostileRecord::dead(format!("unknown id {id}"), "schema_unknown", click(id, &honest()))
    };
    (0..count).map(record).collect()
}

/// Records with the topic's own schema whose bytes do not match it.
pub fn datums(id: SchemaId) -> Vec<HostileRecord> {
    let good = click(id, &RawClick { source: "source", ..honest() });
    // The first fields are id, time, origin and the length of the source.
    let origin = 5 + 16 + good[21..].iter().position(|byte| byte & 0x80 == 0).expect("a time") + 1;
    let with = |at: usize, bytes: &[u8]| [&good[..at], bytes, &good[at + 1..]].concat();
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    let mut all = Vec::new();
    for (kind, value) in [
        ("cut", good[..good.len() - 1].to_vec()),
        ("head alone", good[..5].to_vec()),
        ("an enum's symbol that is none", with(origin, &[0x7e])),
        ("a negative symbol", with(origin, &[1])),
        ("a symbol beyond any", with(origin, &huge)),
        ("a text of 2^62 bytes", with(origin + 1, &huge)),
        ("a text of -1 bytes", with(origin + 1, &[1])),
        ("an endless number", with(origin + 1, &[0xff; 40])),
        ("a text that is none", with(origin + 2, &[0xff])),
    ] {
        all.push(HostileRecord::dead(kind, "avro_mismatch", value));
    }
    all.push(HostileRecord::dead("trailing", "trailing_bytes", [&good[..], &[0; 100]].concat()));
    let long = [&good[..], &[0; DATUM_BYTES_MAX]].concat();
    all.push(HostileRecord::dead("a long datum", "contract_datum_length", long));
    let bomb = [&good[..5], &vec![0_u8; 1_000_000]].concat();
    all.push(HostileRecord::dead("a megabyte of zeros", "contract_datum_length", bomb));
    all
}

/// Clicks with a text beyond its limit, each in another field; some would take long to look up.
pub fn lengths(id: SchemaId) -> Vec<HostileRecord> {
    let labels = format!("https://{}com/", "a.".repeat(30_000));
    let long = "x".repeat(60_000);
    let (labels, long) = (labels.as_str(), long.as_str());
    let one_more = |bytes_max: usize| Some(&long[..=bytes_max]);
    let base = honest();
    let texts = [
        ("slug", RawClick { slug: long, ..base }),
        ("source", RawClick { source: &long[..257], ..base }),
        ("referer of labels", RawClick { referer: Some(labels), ..base }),
        ("target of labels", RawClick { target_url: Some(labels), ..base }),
        ("agent", RawClick { user_agent: one_more(1024), ..base }),
        ("query", RawClick { query: one_more(QUERY_BYTES_MAX), ..base }),
        ("link id", RawClick { link_id: one_more(512), ..base }),
        ("domain", RawClick { domain: one_more(256), ..base }),
        ("language", RawClick { accept_language: one_more(256), ..base }),
        ("purpose", RawClick { purpose: Some(long), ..base }),
        ("app", RawClick { x_requested_with: Some(long), ..base }),
        ("country", RawClick { edge_country: Some(long), ..base }),
    ];
    let record = |(kind, long): (&str, RawClick<'_>)| {
        HostileRecord::dead(format!("too long: {kind}"), "contract_text_length", click(id, &long))
    };
    texts.into_iter().map(record).collect()
}

/// Clicks that violate other rules of the schema.
pub fn contents(id: SchemaId) -> Vec<HostileRecord> {
    let mut nil = click(id, &honest());
    nil[5..21].fill(0);
    let ip = click(id, &RawClick { client_ip: Some(&[203, 0, 113, 7]), ..honest() });
    let at = ip.windows(5).position(|w| w == [8, 203, 0, 113, 7]).expect("an address");
    let short_ip = [&ip[..at], &[6, 203, 0, 113], &ip[at + 5..]].concat();
    let mut all = vec![
        HostileRecord::dead("nil id", "event_id_nil", nil),
        HostileRecord::dead("address of 3 bytes", "client_ip_length", short_ip),
    ];
    for at in [0, 1, -1, i64::MIN, i64::MAX, now_us() + 2 * DAY_US, now_us() / 1000] {
        all.push(HostileRecord::dead(
            format!("time {at}"),
            "occurred_at_out_of_bounds",
            click(id, &RawClick { occurred_at: at, ..honest() }),
        ));
    }
    all
}

/// `count` clicks of the host `source`, whose clock shows `occurred_at`.
pub fn of_clock(id: SchemaId, source: &str, occurred_at: i64, count: usize) -> Vec<HostileRecord> {
    let record = |_| {
        let wrong = RawClick { source, occurred_at, ..honest() };
        let kind = format!("{source} at {occurred_at}");
        HostileRecord::dead(kind, "occurred_at_out_of_bounds", click(id, &wrong))
    };
    (0..count).map(record).collect()
}

/// Clicks with unusual keys and headers.
pub fn headers(id: SchemaId) -> Vec<HostileRecord> {
    let many: Vec<_> = (0..20_000).map(|_| (String::new(), Some(vec![]))).collect();
    let long = vec![("traceparent".to_owned(), Some(vec![b'0'; 200_000]))];
    let bytes = vec![("traceparent".to_owned(), Some(vec![0xff; 55])), ("\u{fc}".to_owned(), None)];
    let key = Some(vec![0xff; 100_000]);
    let odd = [("many headers", None, many), ("a long header", None, long), ("a key", key, bytes)];
    let record = |(kind, key, headers): (&str, Option<Vec<u8>>, _)| {
        let mut odd = HostileRecord::new(kind, Fate::Row, click(id, &honest()));
        odd.record.key = key;
        odd.record.headers = headers;
        odd
    };
    odd.into_iter().map(record).collect()
}

/// `text`, repeated up to `bytes_max` bytes.
fn filled(start: &str, piece: &str, bytes_max: usize) -> String {
    let mut text = start.to_owned();
    while text.len() + piece.len() <= bytes_max {
        text.push_str(piece);
    }
    text
}

/// Clicks with texts of the largest length that take long to enrich.
pub fn costly(id: SchemaId) -> Vec<HostileRecord> {
    let addresses = [
        filled("https://", "a.", 2048),
        filled("https://", "a.", 255),
        filled("https:", "\u{fc}.", 500),
        filled("https://", "\u{4e00}\u{4e8c}", 500),
        filled("https://\u{fc}.example/?", "utm_source=%C3%BC&", 2048),
        filled("https://a.example/", "%", 2048),
        filled("android-app://", "A.", 500),
        filled("", "https://", 2048),
    ];
    let queries = [
        filled("", "&", QUERY_BYTES_MAX),
        filled("", "a&", QUERY_BYTES_MAX),
        filled("", "%61=%61&", QUERY_BYTES_MAX),
        filled("", "gclid=&", QUERY_BYTES_MAX),
        filled("utm_", "%", QUERY_BYTES_MAX),
        filled("utm_source=a", "&utm_source=a", QUERY_BYTES_MAX),
        filled("source=", "%c3%bc+", QUERY_BYTES_MAX),
        filled("utm_medium=", "\u{130}", QUERY_BYTES_MAX),
    ];
    let agents = [
        filled("Mozilla/5.0 (", "Android 1; Build/ ", 1024),
        filled("", "like gecko; google", 1024),
        filled("", "Mozilla/5.0 AppleWebKit/537.36 Chrome/1.2.3.4 Safari/1 ", 1024),
        filled("Mozilla/5.0 (Linux; Android 10; ", "SM-", 1024),
        filled("", "1.", 1024),
        filled("", "((", 1024),
        filled("", "bo", 1024),
        filled("iPhone ", "CPU OS 1_", 1024),
    ];
    let record = |number: usize| {
        let of = |texts: &[String; 8], by: usize| texts[(number + by) % 8].clone();
        let (referer, target, query, agent) =
            (of(&addresses, 0), of(&addresses, 3), of(&queries, 0), of(&agents, 0));
        let short = filled("", "P,;-", 256);
        let slow = RawClick {
            referer: Some(&referer),
            target_url: Some(&target),
            query: Some(&query),
            user_agent: Some(&agent),
            accept_language: Some(&short),
            purpose: Some(&short),
            x_requested_with: Some(&short),
            domain: Some(&short),
            edge_country: Some(&short),
            client_ip: Some(&[203, 0, 113, 7]),
            ..honest()
        };
        let kind = format!("{referer:.40} {query:.20} {agent:.40}");
        HostileRecord::new(kind, Fate::Row, click(id, &slow))
    };
    (0..8).map(record).collect()
}

/// All of them but those with foreign schemas, for a topic whose newest schema has this id.
pub fn corpus(id: SchemaId) -> Vec<HostileRecord> {
    let unknown = unknown_ids(12);
    [framing(), unknown, datums(id), lengths(id), contents(id), headers(id), costly(id)].concat()
}
