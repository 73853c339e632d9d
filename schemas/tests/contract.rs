//! The codec against an independent one, on the published examples and on broken bytes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use schemas::{
    AgentKind, ClientIpPolicy, DecodeError, Decoder, Encoder, Example, Method, NEWEST, Origin,
    Outcome, RELEASED, RawClick, SchemaId, unframe,
};

fn examples() -> Vec<(String, Example)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clicks.raw/1");
    let mut examples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let example = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), example)
        })
        .collect();
    examples.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(examples.len() >= 8, "the published examples are gone");
    examples
}

fn encode(click: &RawClick<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    Encoder::new(SchemaId(1)).encode(click, &mut value).unwrap();
    value[5..].to_vec()
}

fn decoder() -> Decoder {
    Decoder::new(NEWEST).unwrap()
}

/// The value that the other library reads from `datum`, by its writer's schema or by another.
fn read(writer: &Schema, datum: &[u8], reader: &Schema) -> Value {
    let builder = GenericDatumReader::builder(writer).reader_schema(reader);
    builder.build().unwrap().read_value(&mut &*datum).unwrap()
}

fn write(schema: &Schema, value: Value) -> Vec<u8> {
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap()
}

#[test]
fn an_example_comes_back_as_it_went_in() {
    for (name, example) in examples() {
        let ip = example.client_ip_bytes();
        let click = example.click(ip.as_deref());
        let datum = encode(&click);
        assert_eq!(decoder().decode(&datum).unwrap(), click, "{name}");
    }
}

#[test]
fn the_codec_agrees_with_apache_avro() {
    let schema = Schema::parse_str(NEWEST).unwrap();
    for (name, example) in examples() {
        let ip = example.client_ip_bytes();
        let click = example.click(ip.as_deref());
        let datum = encode(&click);
        let theirs = read(&schema, &datum, &schema);
        assert_eq!(field(&theirs, "slug"), &Value::String(click.slug.into()), "{name}");
        assert_eq!(field(&theirs, "occurred_at"), &Value::TimestampMicros(click.occurred_at));
        assert_eq!(
            field(&theirs, "event_id"),
            &Value::Fixed(16, click.event_id.as_bytes().to_vec()),
            "{name}"
        );
        let Value::Enum(_, outcome) = field(&theirs, "outcome") else { panic!("{name}") };
        assert_eq!(outcome, click.outcome.as_str(), "{name}");
        // The same value written by the other library is the same bytes.
        assert_eq!(write(&schema, theirs), datum, "{name}");
    }
}

fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
    let Value::Record(fields) = record else { panic!("{record:?}") };
    &fields.iter().find(|(field, _)| field == name).unwrap().1
}

#[test]
fn values_are_the_symbols_of_the_schema_in_its_order() {
    let schema: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
    let symbols = |name: &str| -> Vec<String> {
        let fields = schema["fields"].as_array().unwrap();
        let field = fields.iter().find(|field| field["type"]["name"] == name).unwrap();
        serde_json::from_value(field["type"]["symbols"].clone()).unwrap()
    };
    for (name, all) in [
        ("Origin", Origin::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>()),
        ("Outcome", Outcome::ALL.iter().map(|it| it.as_str()).collect()),
        ("Method", Method::ALL.iter().map(|it| it.as_str()).collect()),
        ("ClientIpPolicy", ClientIpPolicy::ALL.iter().map(|it| it.as_str()).collect()),
        ("AgentKind", AgentKind::ALL.iter().map(|it| it.as_str()).collect()),
    ] {
        assert_eq!(all, symbols(name), "{name}");
    }
}

#[test]
fn a_record_cut_anywhere_or_followed_by_anything_is_refused() {
    for (name, example) in examples() {
        let ip = example.client_ip_bytes();
        let datum = encode(&example.click(ip.as_deref()));
        for length in 0..datum.len() {
            let cut = decoder().decode(&datum[..length]);
            assert!(matches!(cut, Err(DecodeError::Avro(_))), "{name} cut at {length}: {cut:?}");
        }
        for tail in [&[0u8][..], b"garbage", &datum] {
            let longer = [&datum, tail].concat();
            let verdict = decoder().decode(&longer);
            assert!(
                matches!(verdict, Err(DecodeError::TrailingBytes(n)) if n == tail.len()),
                "{name}: {verdict:?}"
            );
        }
    }
}

#[test]
fn defaults_of_the_struct_are_those_of_the_schema() {
    // A schema of only the fields without default: an absent field must read as its default in the file.
    let mut schema: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    let all = fields.clone();
    fields.retain(|field| field.get("default").is_none());
    let narrow = schema.to_string();
    let parsed = Schema::parse_str(&narrow).unwrap();
    let newest = Schema::parse_str(NEWEST).unwrap();
    let value = Value::Record(vec![
        ("event_id".into(), Value::Fixed(16, vec![7; 16])),
        ("occurred_at".into(), Value::TimestampMicros(5)),
        ("slug".into(), Value::String("a".into())),
    ]);
    let datum = write(&parsed, value);
    let click = Decoder::new(&narrow).unwrap();
    let click = click.decode(&datum).unwrap();
    let resolved = read(&parsed, &datum, &newest);
    assert_eq!(write(&newest, resolved), encode(&click));
    assert_eq!(
        all.len(),
        35,
        "a new field needs its #[serde(default)] in click.rs and a line here"
    );
}

/// Old readers read new records, and new readers old ones; a field that only one version has is its default.
#[test]
fn each_released_version_reads_what_each_other_one_wrote() {
    for (name, example) in examples() {
        let ip = example.client_ip_bytes();
        let click = example.click(ip.as_deref());
        let newest = Schema::parse_str(NEWEST).unwrap();
        let datum = encode(&click);
        for (file, text) in RELEASED {
            let version = Schema::parse_str(text).unwrap();
            let old = read(&newest, &datum, &version);
            assert_eq!(field(&old, "slug"), &Value::String(click.slug.into()), "{name} {file}");
            let written = write(&version, old);
            let known = RawClick { agent_kind: AgentKind::Unknown, ..click };
            let expected = if *text == NEWEST { click } else { known };
            let read_back = Decoder::new(text).unwrap();
            assert_eq!(read_back.decode(&written).unwrap(), expected, "{name} {file}");
        }
    }
}

#[test]
fn fields_in_another_order_and_unknown_ones_are_told_apart() {
    let mut schema: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.reverse();
    let unknown = serde_json::json!({"name": "unknown", "type": {"type": "map", "values": "long"}});
    fields.insert(3, unknown);
    let writer = schema.to_string();
    let parsed = Schema::parse_str(&writer).unwrap();
    let newest = Schema::parse_str(NEWEST).unwrap();
    for (name, example) in examples() {
        let ip = example.client_ip_bytes();
        let click = example.click(ip.as_deref());
        let Value::Record(mut values) = read(&newest, &encode(&click), &newest) else { panic!() };
        values.reverse();
        let some = Value::Map([("slug".to_owned(), Value::Long(7))].into());
        values.insert(3, ("unknown".into(), some));
        let datum = write(&parsed, Value::Record(values));
        assert_eq!(Decoder::new(&writer).unwrap().decode(&datum).unwrap(), click, "{name}");
    }
}

#[test]
fn an_oversized_length_allocates_nothing() {
    // slug's length prefix says 2^55 bytes.
    let mut datum = vec![7; 16];
    datum.extend_from_slice(&[0x02, 0x02, 0x00, 0x00]);
    datum.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
    assert!(decoder().decode(&datum).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_click_and_never_a_panic(bytes: Vec<u8>) {
        if let Ok((_, datum)) = unframe(&bytes) {
            decoder().decode(datum).ok();
        }
        decoder().decode(&bytes).ok();
    }

    #[test]
    fn any_click_comes_back_and_another_library_writes_the_same_bytes(
        (id, occurred_at, status) in (1u128.., any::<i64>(), any::<i32>()),
        (source, slug) in any::<(String, String)>(),
        texts in prop::array::uniform18(any::<Option<String>>()),
        (link_version, latency_us) in any::<(Option<i64>, Option<i32>)>(),
        (dnt, gpc, identifiers_stripped) in any::<(bool, bool, bool)>(),
        visitor_id: Option<[u8; 8]>,
        words in prop::array::uniform5(any::<prop::sample::Index>()),
        ip in prop_oneof![Just(None), prop::array::uniform4(0u8..).prop_map(|ip| Some(ip.to_vec())),
            prop::array::uniform16(0u8..).prop_map(|ip| Some(ip.to_vec()))],
    ) {
        let [domain, query, link_id, target_url, scheme, http_version, user_agent, referer,
            accept_language, purpose, sec_fetch_site, sec_fetch_mode, sec_fetch_dest, sec_ch_ua,
            sec_ch_ua_mobile, sec_ch_ua_platform, x_requested_with, edge_country] =
            texts.each_ref().map(Option::as_deref);
        let [origin, outcome, method, policy, kind] = words;
        let click = RawClick {
            event_id: uuid::Uuid::from_u128(id),
            occurred_at,
            origin: *origin.get(Origin::ALL),
            source: &source,
            domain, slug: &slug, query, link_id, link_version,
            outcome: *outcome.get(Outcome::ALL),
            status, target_url,
            method: *method.get(Method::ALL),
            scheme, http_version,
            client_ip: ip.as_deref(),
            client_ip_policy: *policy.get(ClientIpPolicy::ALL),
            visitor_id, identifiers_stripped, user_agent, referer, accept_language, purpose,
            sec_fetch_site, sec_fetch_mode, sec_fetch_dest, sec_ch_ua, sec_ch_ua_mobile,
            sec_ch_ua_platform, x_requested_with, dnt, gpc, edge_country, latency_us,
            agent_kind: *kind.get(AgentKind::ALL),
        };
        let datum = encode(&click);
        prop_assert_eq!(decoder().decode(&datum).unwrap(), click);
        let schema = Schema::parse_str(NEWEST).unwrap();
        prop_assert_eq!(write(&schema, read(&schema, &datum, &schema)), datum);
    }
}
