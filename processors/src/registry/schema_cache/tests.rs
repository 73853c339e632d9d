//! The cache on a registry that answers by a script.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use prometheus_client::registry::Registry as MetricRegistry;
use records::flow::block::SizeLimits;
use schemas::NEWEST;

use super::*;

const SUBJECT: &str = "clicks-value";
const VERSIONS: &str = "/subjects/clicks-value/versions?deleted=true";

/// Status and body by path; any other path is "not found" in the registry's words.
type Script = Arc<Mutex<HashMap<String, (u16, String)>>>;

struct FakeRegistry {
    url: String,
    script: Script,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeRegistry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (script, requests) = (Script::default(), Arc::new(Mutex::new(Vec::new())));
        let fake = Self { url, script: Arc::clone(&script), requests: Arc::clone(&requests) };
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
                let Some(Ok(first)) = lines.next() else { continue };
                while lines.next().is_some_and(|line| !line.unwrap_or_default().is_empty()) {}
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let unknown = || (404, r#"{"error_code":40403,"message":"no"}"#.to_owned());
                let (status, body) = lock(&script).get(&path).cloned().unwrap_or_else(unknown);
                lock(&requests).push(path);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n");
                let kind = "Content-Type: application/json\r\nConnection: close\r\n\r\n";
                write!(client, "{head}{kind}{body}").ok();
            }
        });
        fake
    }

    fn set(&self, path: &str, status: u16, body: impl ToString) {
        lock(&self.script).insert(path.to_owned(), (status, body.to_string()));
    }

    /// The subject has these ids, as its versions 1, 2, and so on.
    fn set_subject(&self, ids: &[u32]) {
        let versions: Vec<_> = (1..=ids.len()).collect();
        self.set(VERSIONS, 200, format!("{versions:?}"));
        for (version, id) in versions.iter().zip(ids) {
            let path = format!("/subjects/clicks-value/versions/{version}?deleted=true");
            self.set(&path, 200, format!(r#"{{"subject":"x","version":{version},"id":{id}}}"#));
        }
    }

    /// The registry has this id, of whatever subject.
    fn set_schema(&self, id: u32, schema: &str) {
        let body = serde_json::json!({ "schema": schema });
        self.set(&format!("/schemas/ids/{id}?deleted=true"), 200, &body);
        self.set(&format!("/schemas/ids/{id}"), 200, body);
    }

    fn cache(&self) -> SchemaCache {
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let metrics = ProcessorMetrics::register(&mut MetricRegistry::default(), limits);
        SchemaCache::new(Registry::new(&self.url).unwrap(), SUBJECT.to_owned(), metrics)
    }

    /// How many requests asked for a schema; the subject's versions are asked for by the clock.
    fn requests_of_schemas(&self) -> usize {
        lock(&self.requests).iter().filter(|path| path.starts_with("/schemas/ids/")).count()
    }
}

fn set(ids: &[u32]) -> BTreeSet<SchemaId> {
    ids.iter().copied().map(SchemaId).collect()
}

/// Of each id `decoder`, `open`, or the code of its error.
fn codes(
    ids: &[u32],
    found: Result<Schemas, ServerError>,
) -> Result<Vec<&'static str>, &'static str> {
    let found = found.map_err(|error| error.code)?;
    let code = |id: &u32| {
        let id = SchemaId(*id);
        let schema = &found[&id];
        let code = schema.decoder(id).map_or_else(|error| error.code(), |_| "decoder");
        if matches!(schema, CachedSchema::Open) { "open" } else { code }
    };
    Ok(ids.iter().map(code).collect())
}

async fn get(cache: &SchemaCache, ids: &[u32]) -> Result<Vec<&'static str>, &'static str> {
    codes(ids, cache.get(&set(ids)).await)
}

/// Time passes; requests take their own.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Of ids that were asked for first so long ago.
async fn settled(
    cache: &SchemaCache,
    ids: &[u32],
    age: Duration,
) -> Result<Vec<&'static str>, &'static str> {
    let now = Instant::now();
    let since = now.checked_sub(age).unwrap_or(now);
    lock(&cache.answering_since).get_or_insert(since);
    let found = cache.settle(&set(ids), since).await;
    assert_eq!(found.is_ok(), lock(&cache.answering_since).is_some());
    codes(ids, found)
}

#[tokio::test]
async fn h5_h7_only_schemas_of_the_subject_decode_and_no_block_waits_for_others() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7, 8]);
    fake.set_schema(7, NEWEST);
    fake.set_schema(8, r#"{"type":"array","items":"null"}"#);
    fake.set_schema(9, NEWEST);
    let cache = fake.cache();
    assert_eq!(get(&cache, &[7, 8, 9]).await, Ok(vec!["decoder", "schema_unusable", "open"]));
    // Whose an id is, is asked when it was waited for.
    let expected = Ok(vec!["decoder", "schema_unusable", "schema_of_other_subject"]);
    assert_eq!(settled(&cache, &[7, 8, 9], WAIT).await, expected);
    let before = fake.requests_of_schemas();
    assert_eq!(get(&cache, &[7, 8, 9]).await, expected);
    assert_eq!(fake.requests_of_schemas(), before, "answers are cached");

    // As many unknown ids as a block has records, again and again: few requests, no wait.
    for first in [1_000_000, 2_000_000, 3_000_000] {
        let unknown: Vec<u32> = (first..first + 8_192).collect();
        assert_eq!(get(&cache, &unknown).await, Ok(vec!["open"; unknown.len()]));
        let before = fake.requests_of_schemas();
        let expected = Ok(vec!["schema_unknown"; unknown.len()]);
        assert_eq!(settled(&cache, &unknown, WAIT).await, expected);
        let asked = fake.requests_of_schemas() - before;
        assert!(asked <= ASKED_MAX, "{asked} requests");
    }
    assert_eq!(cache.metrics.schema_ids_refused.get(), 1 + 3 * 8_192);
}

/// It would begin the wait again, and a sender of many ids could so hold a batch.
#[tokio::test]
async fn h5_a_failed_look_up_in_other_subjects_does_not_hold_the_record() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7]);
    fake.set_schema(9, NEWEST);
    for failing in ["/schemas/ids/8?deleted=true", "/schemas/ids/8"] {
        fake.set(failing, 500, "{}");
    }
    let expected = Ok(vec!["schema_unknown", "schema_of_other_subject"]);
    assert_eq!(settled(&fake.cache(), &[8, 9], WAIT).await, expected);
}

/// Whatever other senders wrote before.
#[tokio::test]
async fn h5_an_id_that_is_registered_within_the_wait_decodes_despite_many_unknown_ids() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7]);
    fake.set_schema(7, NEWEST);
    let cache = fake.cache();
    let unknown: Vec<u32> = (1_000_000..1_008_192).collect();
    settled(&cache, &unknown, WAIT).await.unwrap();
    assert_eq!(get(&cache, &[9]).await, Ok(vec!["open"]));
    let late = async {
        tokio::time::sleep(REFRESH_EVERY / 2).await;
        fake.set_schema(9, NEWEST);
        fake.set_subject(&[7, 9]);
    };
    let (found, ()) = tokio::join!(settled(&cache, &[9], Duration::ZERO), late);
    assert_eq!(found, Ok(vec!["decoder"]));
}

#[tokio::test]
async fn h5_a_registry_that_gives_no_clear_answer_is_an_error_to_retry() {
    for (status, body, code) in [
        (500, "{}", "registry_unreachable"),
        (429, "{}", "registry_unreachable"),
        (503, "<html>", "registry_unreachable"),
        (401, "{}", "registry_access"),
        (404, "<html>a gateway</html>", "registry_not_found"),
        (404, r#"{"error_code":404}"#, "registry_not_found"),
        (200, "{}", "registry_unreachable"),
        (200, "[1]x", "registry_unreachable"),
    ] {
        let fake = FakeRegistry::start();
        fake.set_subject(&[7]);
        fake.set_schema(7, NEWEST);
        let cache = fake.cache();
        fake.set(VERSIONS, status, body);
        assert_eq!(get(&cache, &[7]).await, Err(code), "{status} {body}");
        assert_eq!(settled(&cache, &[1], WAIT).await, Err(code), "{status} {body}");
        assert_eq!(codes(&[7], cache.get_or_open(&set(&[7])).await), Ok(vec!["open"]));
        fake.set_subject(&[7]);
        pass(REFRESH_EVERY).await;
        assert_eq!(get(&cache, &[7]).await, Ok(vec!["decoder"]), "{status} {body}");
    }
}

#[tokio::test]
async fn h5_a_registry_that_does_not_answer_holds_no_block_and_known_ids_decode() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7]);
    fake.set_schema(7, NEWEST);
    let cache = fake.cache();
    let of_block = async |ids: &[u32]| codes(ids, cache.get_or_open(&set(ids)).await);
    assert_eq!(get(&cache, &[7]).await, Ok(vec!["decoder"]));
    fake.set(VERSIONS, 503, "");
    pass(REFRESH_EVERY).await;
    assert_eq!(of_block(&[7, 9]).await, Ok(vec!["decoder", "open"]));
    let before = lock(&fake.requests).len();
    assert_eq!(of_block(&[7, 10]).await, Ok(vec!["decoder", "open"]));
    assert_eq!(lock(&fake.requests).len(), before, "another block does not ask");
    assert_eq!(settled(&cache, &[9], WAIT).await, Err("registry_unreachable"));
    // Open records are looked up again, and all blocks use the result.
    fake.set_subject(&[7, 9]);
    fake.set_schema(9, NEWEST);
    pass(REFRESH_EVERY).await;
    assert_eq!(settled(&cache, &[9], WAIT).await, Ok(vec!["decoder"]));
    assert_eq!(of_block(&[7, 9, 10]).await, Ok(vec!["decoder", "decoder", "open"]));
}

/// A block may not have asked during the outage, or another block of its batch got the first answer.
#[tokio::test]
async fn h5_after_an_outage_the_wait_of_each_id_begins_with_the_first_answer() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7]);
    let cache = fake.cache();
    let now = Instant::now();
    let since = now.checked_sub(WAIT * 2).unwrap_or(now);
    assert_eq!(get(&cache, &[8]).await, Ok(vec!["open"]), "the first answer");
    let ids = set(&[9]);
    let settled = tokio::time::timeout(REFRESH_EVERY / 2, cache.settle(&ids, since)).await;
    assert!(settled.is_err(), "refused by the time of its record: {settled:?}");
}

/// Another block holds the lookup: only one block asks the registry at a time.
#[tokio::test(start_paused = true)]
async fn h5_a_block_waits_a_second_for_the_registry_and_again_after_twenty() {
    let cache = FakeRegistry::start().cache();
    let _asking = cache.lookup.lock().await;
    let began = Instant::now();
    for block in 0..1_000 {
        let found = cache.get_or_open(&set(&[block])).await;
        assert_eq!(codes(&[block], found), Ok(vec!["open"]));
    }
    assert!(began.elapsed() < ASK_MAX * 2, "{:?}", began.elapsed());
    tokio::time::advance(PAUSE).await;
    let again = Instant::now();
    cache.get_or_open(&set(&[1])).await.unwrap();
    assert!(again.elapsed() >= ASK_MAX, "{:?}", again.elapsed());
}
