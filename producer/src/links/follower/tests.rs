//! The reader of the topic, on a registry that refuses connections.

use broker::{Brokers, Registry};
use schemas::{LINKS_NEWEST, LinkEncoder};

use super::*;

const KNOWN: SchemaId = SchemaId(1);
const UNKNOWN: SchemaId = SchemaId(2);

/// A reader whose registry refuses connections.
fn reader(runtime: &tokio::runtime::Runtime) -> TopicReader {
    let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties: Vec::new() };
    let registry = Registry::new("http://127.0.0.1:1").unwrap();
    let mut reader = TopicReader::new(FollowerParts {
        endpoint: Endpoint { brokers, registry, topic: "links.v1".parse().unwrap() },
        links: Arc::default(),
        snapshot: PathBuf::new(),
        reports: None,
        runtime: runtime.handle().clone(),
        metrics: Metrics::default(),
        problem: Problem::default(),
        stop: CancellationToken::new(),
    });
    reader.decoders.insert(KNOWN, LinkDecoder::new(LINKS_NEWEST).ok());
    reader
}

fn take(reader: &mut TopicReader, id: SchemaId, slug: &str) {
    let link = RawLink {
        id: slug,
        version: 1,
        domain: "",
        slug,
        target: "https://example.com/",
        status: 302,
        disabled: false,
        expires_at: None,
        pass_query: false,
        opt_out: false,
        deleted: false,
        changed_at: 0,
    };
    let mut value = Vec::new();
    LinkEncoder::new(id).unwrap().encode(&link, &mut value).unwrap();
    reader.take(TopicRecord { key: Some(slug.as_bytes()), value: Some(&value) });
}

#[test]
fn h5_links_of_known_ids_are_applied_while_others_wait_for_the_registry() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut reader = reader(&runtime);
    for number in 0..100 {
        take(&mut reader, UNKNOWN, &format!("waits-{number}"));
        take(&mut reader, KNOWN, &format!("known-{number}"));
    }
    assert_eq!(reader.parts.links.count(), 100);
    // The refused connection may take longer than the first wait on a busy machine.
    while !reader.is_failing {
        (reader.wait_at, reader.ask_at) = (None, None);
        reader.settle();
    }
    assert!(reader.open.has_one_of(1));
    let problem = reader.parts.problem.current();
    assert!(problem.is_some_and(|problem| problem.starts_with("registry_unreachable")));
    // The registry answers: first that the subject has no such id, then that it has.
    let now = Instant::now();
    reader.decide(BTreeMap::from([(UNKNOWN, SchemaAnswer::Open)]), now);
    assert_eq!(reader.parts.links.count(), 100);
    let schema = SchemaAnswer::Schema(LINKS_NEWEST.to_owned());
    reader.decide(BTreeMap::from([(UNKNOWN, schema)]), now + Duration::from_secs(60));
    assert_eq!(reader.parts.links.count(), 200);
    assert!(reader.open.is_empty());
}

#[test]
fn h5_an_id_that_the_subject_does_not_get_is_refused_and_stops_no_link() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut reader = reader(&runtime);
    take(&mut reader, UNKNOWN, "waits");
    let first = Instant::now();
    let no = || BTreeMap::from([(UNKNOWN, SchemaAnswer::Open)]);
    // The time begins with the first answer, and again when a registry that has the id fails.
    reader.decide(no(), first);
    let error = ServerError::retryable("registry_unreachable", "no answer");
    let failed = BTreeMap::from([(UNKNOWN, SchemaAnswer::Failed(error))]);
    reader.decide(failed, first + Duration::from_secs(9));
    assert!(reader.is_failing);
    reader.decide(no(), first + Duration::from_secs(10));
    assert!(!reader.open.is_empty());
    reader.decide(no(), first + Duration::from_secs(16));
    assert!(reader.open.is_empty());
    assert_eq!(reader.parts.links.count(), 0);
}

#[test]
fn h5_a_flood_of_unknown_ids_holds_reading_five_seconds_of_a_minute() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut reader = reader(&runtime);
    let began = Instant::now();
    reader.ask_at = Some(began + FULL_EVERY);
    while !reader.open.is_full() {
        reader.open.push(UNKNOWN, None, b"", began);
    }
    reader.decide(BTreeMap::from([(UNKNOWN, SchemaAnswer::Open)]), began);
    assert!(reader.open.is_full());
    // In this minute reading has waited.
    reader.full_at = began.checked_sub(FULL_WAIT);
    for number in 0..500 {
        take(&mut reader, UNKNOWN, &format!("unknown-{number}"));
    }
    take(&mut reader, KNOWN, "known");
    assert_eq!(reader.parts.links.count(), 1);
    assert!(reader.open.is_full() && reader.open.has_one_of(501) && !reader.open.has_one_of(500));
    assert!(began.elapsed() < FULL_WAIT, "{:?}", began.elapsed());
}
