//! The lookup on registries that answer by a script.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::unknown_wait::WAIT;

const SCHEMA: &str = r#""string""#;

/// What a registry has: the subject's ids in the order of their versions, and ids of other subjects.
#[derive(Debug, Default, Clone)]
struct Has {
    own: Vec<u32>,
    others: Vec<u32>,
    /// It answers with this status, as a gateway does.
    status: Option<u16>,
    /// It does not answer.
    hangs: bool,
}

impl Has {
    fn own(ids: &[u32]) -> Self {
        Self { own: ids.to_vec(), ..Self::default() }
    }

    /// Status and body; `None`: no answer.
    fn answer(&self, path: &str) -> Option<(u16, String)> {
        if self.hangs {
            return None;
        }
        if let Some(status) = self.status {
            return Some((status, "<html>".to_owned()));
        }
        let path = path.split('?').next().unwrap();
        let numbers = 1..=self.own.len();
        let found = if path == "/subjects/links-value/versions" {
            (!self.own.is_empty()).then(|| format!("{:?}", numbers.collect::<Vec<_>>()))
        } else if let Some(number) = path.strip_prefix("/subjects/links-value/versions/") {
            let id = self.own[number.parse::<usize>().unwrap() - 1];
            Some(format!(r#"{{"id":{id}}}"#))
        } else {
            let id: u32 = path.strip_prefix("/schemas/ids/").unwrap().parse().unwrap();
            let is_known = self.own.contains(&id) || self.others.contains(&id);
            is_known.then(|| serde_json::json!({ "schema": SCHEMA }).to_string())
        };
        Some(found.map_or((404, r#"{"error_code":40403}"#.to_owned()), |body| (200, body)))
    }
}

struct FakeRegistry {
    url: String,
    has: Arc<Mutex<Has>>,
    requests: Arc<Mutex<u32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeRegistry {
    fn start(has: Has) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { url, has: Arc::new(Mutex::new(has)), requests: Arc::default() };
        let (has, requests) = (Arc::clone(&fake.has), Arc::clone(&fake.requests));
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for mut client in listener.incoming().flatten() {
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
                let Some(Ok(first)) = lines.next() else { continue };
                while lines.next().is_some_and(|line| !line.unwrap_or_default().is_empty()) {}
                *lock(&requests) += 1;
                let answer = lock(&has).answer(first.split(' ').nth(1).unwrap());
                let Some((status, body)) = answer else {
                    silent.push(client);
                    continue;
                };
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n");
                write!(client, "{head}Connection: close\r\n\r\n{body}").ok();
            }
        });
        fake
    }

    fn set(&self, has: Has) {
        *lock(&self.has) = has;
    }
}

fn lookup(registries: &[&FakeRegistry]) -> SchemaLookup {
    let urls: Vec<_> = registries.iter().map(|fake| fake.url.as_str()).collect();
    SchemaLookup::new(Registry::new(&urls.join(",")).unwrap(), "links-value".to_owned())
}

/// The next answer is asked for, not remembered.
fn forget_answers(lookup: &mut SchemaLookup) {
    lookup.fresh_until = None;
    lookup.failed_until = None;
}

/// What the lookup answers for each id: `own`, `open` or `refused`.
async fn answers(
    lookup: &mut SchemaLookup,
    ids: &[u32],
) -> Result<Vec<&'static str>, &'static str> {
    let wanted: BTreeSet<_> = ids.iter().copied().map(SchemaId).collect();
    let answers = lookup.answers(&wanted).await.map_err(|error| error.code)?;
    let name = |id: &u32| match answers[&SchemaId(*id)] {
        SchemaAnswer::Schema(_) => "own",
        SchemaAnswer::Refused(_) => "refused",
        SchemaAnswer::Open => "open",
        SchemaAnswer::Failed(_) => "failed",
    };
    Ok(ids.iter().map(name).collect())
}

#[tokio::test]
async fn h5_the_ids_of_all_registries_that_answer_count_in_any_order() {
    let behind = FakeRegistry::start(Has::own(&[7]));
    let ahead = FakeRegistry::start(Has::own(&[7, 9]));
    let away = FakeRegistry::start(Has { status: Some(503), ..Has::default() });
    for registries in [[&behind, &ahead, &away], [&away, &behind, &ahead], [&ahead, &away, &behind]]
    {
        let mut lookup = lookup(&registries);
        let expected = Ok(vec!["own", "own", "open"]);
        assert_eq!(answers(&mut lookup, &[7, 9, 11]).await, expected);
    }
    // The lookup waits for an id whose only registry no longer answers, and does not refuse it.
    let mut lookup = lookup(&[&behind, &ahead]);
    assert_eq!(answers(&mut lookup, &[11]).await, Ok(vec!["open"]));
    ahead.set(Has { status: Some(500), ..Has::default() });
    forget_answers(&mut lookup);
    assert_eq!(answers(&mut lookup, &[7]).await, Ok(vec!["own"]));
    assert_eq!(answers(&mut lookup, &[9]).await, Err("registry_unreachable"));
    // It does not take the answers about other ids with it.
    let expected = Ok(vec!["own", "failed", "open"]);
    assert_eq!(answers(&mut lookup, &[7, 9, 11]).await, expected);
}

#[tokio::test]
async fn h5_one_registry_that_hangs_costs_a_tenth_of_the_time_at_most() {
    let has = FakeRegistry::start(Has::own(&[7]));
    let hangs = FakeRegistry::start(Has { hangs: true, ..Has::default() });
    let mut lookup = lookup(&[&hangs, &has]);
    for _ in 0..5 {
        forget_answers(&mut lookup);
        assert_eq!(answers(&mut lookup, &[11]).await, Ok(vec!["open"]));
    }
    assert_eq!(*lock(&hangs.requests), 1, "it is paused for ten times its wait");
}

#[tokio::test]
async fn h5_a_refused_id_is_used_as_soon_as_the_subject_has_it_also_after_an_outage() {
    let fake = FakeRegistry::start(Has::own(&[7]));
    let mut lookup = lookup(&[&fake]);
    assert_eq!(answers(&mut lookup, &[9]).await, Ok(vec!["open"]));
    assert!(lookup.refuse(SchemaId(9), SchemaRefusal::Unknown));
    assert!(!lookup.refuse(SchemaId(9), SchemaRefusal::Unknown));
    forget_answers(&mut lookup);
    fake.set(Has { status: Some(503), ..Has::default() });
    let before = *lock(&fake.requests);
    for _ in 0..10 {
        assert_eq!(answers(&mut lookup, &[9]).await, Ok(vec!["refused"]), "it waits for nothing");
    }
    assert_eq!(*lock(&fake.requests), before + 1, "and is asked for once a second");
    assert_eq!(answers(&mut lookup, &[9, 10]).await, Err("registry_unreachable"));
    fake.set(Has::own(&[7, 9]));
    // At least a second, and ten times as long as the request took.
    let paused = lookup.paused_until.unwrap().saturating_duration_since(Instant::now());
    tokio::time::sleep(paused).await;
    assert_eq!(answers(&mut lookup, &[9]).await, Ok(vec!["own"]));
}

#[tokio::test]
async fn h7_links_decode_by_schemas_of_their_subject_only_and_known_ids_never_wait() {
    let fake = FakeRegistry::start(Has { others: vec![3], ..Has::own(&[7]) });
    let mut lookup = lookup(&[&fake]);
    // All of the wait is spent.
    let now = Instant::now();
    lookup.wait.deadline(now.checked_sub(WAIT).unwrap_or(now));
    let began = Instant::now();
    assert_eq!(lookup.schema(SchemaId(3)).await.unwrap(), None, "of another subject");
    assert_eq!(lookup.schema(SchemaId(8)).await.unwrap(), None);
    assert_eq!(lookup.schema(SchemaId(7)).await.unwrap().as_deref(), Some(SCHEMA));
    fake.set(Has::own(&[7, 8]));
    forget_answers(&mut lookup);
    assert_eq!(lookup.schema(SchemaId(8)).await.unwrap().as_deref(), Some(SCHEMA));
    assert!(began.elapsed() < WAIT / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn h5_an_id_that_the_registry_gets_a_moment_later_is_waited_for() {
    let fake = FakeRegistry::start(Has::own(&[7]));
    let mut lookup = lookup(&[&fake]);
    let (schema, ()) = tokio::join!(lookup.schema(SchemaId(8)), async {
        while *lock(&fake.requests) < 2 {
            tokio::task::yield_now().await;
        }
        fake.set(Has::own(&[7, 8]));
    });
    assert_eq!(schema.unwrap().as_deref(), Some(SCHEMA));
}

#[tokio::test]
async fn h5_a_registry_that_gives_no_clear_answer_is_an_error_to_retry() {
    for (status, code) in
        [(500, "registry_unreachable"), (401, "registry_access"), (404, "registry_not_found")]
    {
        let fake = FakeRegistry::start(Has { status: Some(status), ..Has::default() });
        let mut lookup = lookup(&[&fake]);
        let error = lookup.schema(SchemaId(7)).await.unwrap_err();
        assert_eq!((error.code, error.is_retryable()), (code, true));
        // Any number of readers that try again ask once a second, in all.
        let before = *lock(&fake.requests);
        for _ in 0..100 {
            assert_eq!(lookup.schema(SchemaId(7)).await.unwrap_err().code, code);
        }
        assert_eq!(*lock(&fake.requests), before);
        fake.set(Has::own(&[7]));
        forget_answers(&mut lookup);
        assert!(lookup.schema(SchemaId(7)).await.unwrap().is_some());
    }
}
