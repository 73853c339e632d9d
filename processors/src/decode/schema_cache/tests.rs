//! The cache on a registry that answers by a script.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use prometheus_client::registry::Registry as MetricRegistry;
use schemas::NEWEST;

use super::*;
use crate::decode::unknown_wait::WAIT;
use crate::flow::block::SizeLimits;

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

    fn requests(&self) -> usize {
        lock(&self.requests).len()
    }
}

/// What the cache says of each id: its code, or `decoder`.
async fn codes(cache: &SchemaCache, ids: &[u32]) -> Result<Vec<&'static str>, &'static str> {
    let wanted: BTreeSet<_> = ids.iter().copied().map(SchemaId).collect();
    let found = cache.get(&wanted).await.map_err(|error| error.code)?;
    let code = |id: &u32| {
        let id = SchemaId(*id);
        found[&id].decoder(id).map_or_else(|error| error.code(), |_| "decoder")
    };
    Ok(ids.iter().map(code).collect())
}

#[tokio::test]
async fn h5_h7_only_schemas_of_the_subject_decode_and_all_others_cost_one_wait() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7, 8]);
    fake.set_schema(7, NEWEST);
    fake.set_schema(8, r#"{"type":"array","items":"null"}"#);
    fake.set_schema(9, NEWEST);
    let cache = fake.cache();
    // Ids of the subject, and of another one, wait for nothing.
    let began = Instant::now();
    let expected = Ok(vec!["decoder", "schema_unusable", "schema_of_other_subject"]);
    assert_eq!(codes(&cache, &[7, 8, 9]).await, expected);
    assert!(began.elapsed() < WAIT / 2, "{:?}", began.elapsed());
    let before = fake.requests();
    assert_eq!(codes(&cache, &[7, 8, 9]).await, expected);
    assert_eq!(fake.requests(), before, "answers are cached");

    // As many unknown ids as a block has records: one wait, few requests.
    let unknown: Vec<u32> = (1_000_000..1_008_192).collect();
    assert_eq!(codes(&cache, &unknown).await, Ok(vec!["schema_unknown"; unknown.len()]));
    let took = began.elapsed();
    assert!((WAIT..WAIT * 2).contains(&took), "{took:?}");
    let asked = fake.requests() - before;
    assert!(asked <= ASKED_MAX + 2 * 8, "{asked} requests");
    // The next ones are not waited for.
    let unknown: Vec<u32> = (2_000_000..2_008_192).collect();
    let began = Instant::now();
    assert_eq!(codes(&cache, &unknown).await, Ok(vec!["schema_unknown"; unknown.len()]));
    assert!(began.elapsed() < WAIT / 2, "{:?}", began.elapsed());
    assert_eq!(cache.metrics.schema_ids_refused.get(), 1 + 2 * 8_192);

    // An id that was refused, and one that is new, are the subject's now.
    fake.set_subject(&[7, 8, 9, 2_000_001]);
    fake.set_schema(2_000_001, NEWEST);
    tokio::time::sleep(REFRESH_EVERY).await;
    assert_eq!(codes(&cache, &[9, 2_000_001]).await, Ok(vec!["decoder", "decoder"]));
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
        assert_eq!(codes(&cache, &[7]).await, Err(code), "{status} {body}");
        assert_eq!(codes(&cache, &[1]).await, Err(code), "{status} {body}");
        fake.set_subject(&[7]);
        assert_eq!(codes(&cache, &[7]).await, Ok(vec!["decoder"]), "{status} {body}");
    }
}

#[tokio::test]
async fn h5_known_and_refused_ids_do_not_wait_for_a_registry_that_is_unreachable() {
    let fake = FakeRegistry::start();
    fake.set_subject(&[7]);
    fake.set_schema(7, NEWEST);
    fake.set_schema(9, NEWEST);
    let cache = fake.cache();
    let expected = Ok(vec!["decoder", "schema_of_other_subject"]);
    assert_eq!(codes(&cache, &[7, 9]).await, expected);
    fake.set(VERSIONS, 500, "");
    tokio::time::sleep(REFRESH_EVERY).await;
    assert_eq!(codes(&cache, &[7, 9]).await, expected);
    let before = fake.requests();
    tokio::time::sleep(REFRESH_EVERY).await;
    assert_eq!(codes(&cache, &[7, 9]).await, expected);
    assert_eq!(fake.requests(), before, "and is not asked each second");
    assert_eq!(codes(&cache, &[7, 10]).await, Err("registry_unreachable"));
}
