//! The collector under requests of senders, with a real outbox.

mod hostile_requests;
mod sender_mistakes;

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Frame;
use schemas::{ClientIpPolicy, Decoder, NEWEST, Origin, RawClick};
use tempfile::TempDir;

use super::*;
use crate::client::day_keys::folder::KeyFolder;
use crate::client::privacy::PrivacyPolicy;
use crate::outbox::outbox_settings::{BYTES_MIN, OutboxSettings, QueueLimits};
use crate::outbox::reader::Found;

const TOKEN: &str = "0123456789abcdef";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const V7: &str = "019aaa00-0000-7000-8000-000000000001";
const LIMITS: CollectorLimits =
    CollectorLimits { bytes: 1 << 20, time: Duration::from_secs(5), records: 1_000, days: 30 };

struct Fixture {
    folder: TempDir,
    collector: Arc<Collector>,
}

impl Fixture {
    fn new(limits: CollectorLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::default();
        let settings =
            OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 1 << 20, bytes: 64 << 20 });
        let outbox = Outbox::open(folder.path(), settings, NEWEST, &metrics, Arc::default());
        let keys = KeyRing::new(2, metrics.clone());
        assert!(keys.refresh(&KeyFolder::open(&folder.path().join("keys")).unwrap()).is_some());
        let collector = Collector::new(CollectorParts {
            tokens: TOKEN.parse().unwrap(),
            limits,
            outbox: Arc::new(outbox.unwrap()),
            privacy: PrivacyPolicies {
                signals: PrivacyPolicy::Drop,
                links: PrivacyPolicy::Strip,
                ..PrivacyPolicies::default()
            },
            keys: Arc::new(keys),
            node: "node".to_owned(),
            metrics,
        });
        Self { folder, collector: Arc::new(collector) }
    }

    fn standard() -> Self {
        Self::new(CollectorLimits { records: 100, ..LIMITS })
    }

    async fn send(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = hyper::Request::post(PATH);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = request.body(Full::new(body.into())).unwrap().into_parts();
        assert!(is_for_collector(&head));
        read(Arc::clone(&self.collector).answer(head, body).await).await
    }

    async fn json(&self, body: &str) -> Answer {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("content-type", "application/json"), ("authorization", &authorization)];
        self.send(&headers, body.to_owned()).await
    }

    /// Calls `visit` with every click of the outbox.
    fn clicks(&self, mut visit: impl FnMut(RawClick<'_>, TraceHeaders<'_>)) -> usize {
        let decoder = Decoder::new(NEWEST).unwrap();
        let (mut reader, mut clicks) = (self.collector.parts.outbox.reader(), 0);
        while let Found::Click { stored, .. } = reader.read().unwrap() {
            visit(decoder.decode(stored.datum).unwrap(), stored.trace);
            clicks += 1;
        }
        clicks
    }
}

/// A body that never sends a byte.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: serde_json::Value,
}

async fn read(response: Response<AnswerBody>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

#[tokio::test]
async fn objects_arrays_and_lines_are_accepted_plain_and_compressed() {
    let fixture = Fixture::standard();
    let lines = "{\"slug\":\"a\"}\n\r\n {\"slug\":\"b\"}\r\n{\"slug\":\"c\"}";
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let bearer = format!("Bearer {TOKEN}");
    let mut all = 0;
    for (kind, encoding, body, records) in [
        ("application/json", "identity", br#"{"slug":"a"}"#.to_vec(), 1),
        (
            "application/json; charset=utf-8",
            "identity",
            br#" [{"slug":"a"},{"slug":"b"}] "#.to_vec(),
            2,
        ),
        ("application/json", "identity", b"[]".to_vec(), 0),
        ("application/x-ndjson", "identity", lines.as_bytes().to_vec(), 3),
        ("application/x-ndjson", "gzip", compressed, 3),
        ("application/x-ndjson", "identity", b"\n".to_vec(), 0),
    ] {
        let headers =
            [("content-type", kind), ("content-encoding", encoding), ("authorization", &bearer)];
        let answer = fixture.send(&headers, body).await;
        assert_eq!(
            (answer.status, answer.body["accepted"].as_u64()),
            (200, Some(records)),
            "{answer:?}"
        );
        all += usize::try_from(records).unwrap();
        assert_eq!(fixture.clicks(|_, _| {}), all, "they are on the disk before the answer");
    }
}

#[tokio::test]
async fn a_record_becomes_a_click_with_the_senders_facts_and_the_requests_trace() {
    let (fixture, now) = (Fixture::standard(), now() / 1_000_000 * 1_000_000);
    let time = jiff::Timestamp::from_microsecond(now).unwrap();
    let record = format!(
        r#"{{"event_id":"{V7}","occurred_at":"{time}","slug":"/a","domain":"Go.Example",
        "status":302,"method":"GET","client_ip":"203.0.113.7","user_agent":"M","target_url":"https://x/"}}"#
    );
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
        ("traceparent", PARENT),
        ("tracestate", "v=1"),
    ];
    let answer = fixture.send(&headers, record).await;
    assert_eq!(answer.body["records"][0]["event_id"], V7);
    let clicks = fixture.clicks(|click, trace| {
        assert_eq!(click.event_id.to_string(), V7);
        assert_eq!((click.occurred_at, click.slug), (now, "a"));
        assert_eq!((click.origin, click.source), (Origin::Collector, "node"));
        assert_eq!((click.domain, click.status), (Some("go.example"), 302));
        assert_eq!(click.client_ip, Some(&[203, 0, 113, 7][..]));
        assert_eq!(click.client_ip_policy, ClientIpPolicy::Full);
        assert!(click.visitor_id.is_some());
        assert_eq!((trace.traceparent, trace.tracestate), (Some(PARENT), Some("v=1")));
    });
    assert_eq!(clicks, 1);
}

#[tokio::test]
async fn valid_records_are_accepted_beside_invalid_ones_and_each_has_its_result() {
    let fixture = Fixture::standard();
    let answer = fixture
        .json(
            r#"[{"slug":"a"},{"slug":7},{"slug":"b","occurred_at":5},{"slug":"c","gpc":true},
            {"slug":"d","opt_out":true,"user_agent":"M"},{"slug":"e","event_id":"nonsense"}]"#,
        )
        .await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let body = &answer.body;
    let counts = [&body["accepted"], &body["withheld"], &body["rejected"]];
    assert_eq!(counts.map(|it| it.as_u64().unwrap()), [2, 1, 3]);
    let results = body["records"].as_array().unwrap().iter().map(|it| {
        (it["index"].as_u64().unwrap(), it["status"].as_str().unwrap(), it["code"].as_str())
    });
    let expected = [
        (0, "accepted", None),
        (1, "rejected", Some("record_malformed")),
        (2, "rejected", Some("occurred_at_out_of_bounds")),
        (3, "withheld", None),
        (4, "accepted", None),
        (5, "rejected", Some("record_malformed")),
    ];
    assert_eq!(results.collect::<Vec<_>>(), expected);
    assert!(body["records"][1]["why"].as_str().unwrap().contains("string"), "{body}");
    let mut stripped = Vec::new();
    fixture.clicks(|click, _| stripped.push((click.slug.to_owned(), click.identifiers_stripped)));
    assert_eq!(stripped, [("a".to_owned(), false), ("d".to_owned(), true)]);
    let counted = |result| {
        let records = &fixture.collector.parts.metrics.collector_records;
        records.get_or_create(&ResultLabel { result }).get()
    };
    assert_eq!((counted("accepted"), counted("withheld"), counted("record_malformed")), (2, 1, 2));
}

#[tokio::test]
async fn a_request_without_a_valid_record_is_refused() {
    let fixture = Fixture::standard();
    for (body, code) in [
        (r#"{"slug":7}"#, "record_malformed"),
        (r#"[["a"]]"#, "record_malformed"),
        ("", "record_malformed"),
        (
            r#"[{"slug":"a","event_id":"019aaa00-0000-7000-8000-000000000001"}]"#,
            "occurred_at_missing",
        ),
    ] {
        let answer = fixture.json(body).await;
        let first = answer.body["records"][0]["code"].as_str();
        assert_eq!((answer.status, first), (400, Some(code)), "{answer:?}");
    }
    assert_eq!(fixture.json("[1,").await.body["code"], "body_malformed");
    assert_eq!(fixture.clicks(|_, _| {}), 0);
}

#[tokio::test]
async fn a_refused_request_has_a_status_and_a_code() {
    let time = Duration::from_millis(100);
    let limits = CollectorLimits { bytes: 1_000, time, records: 3, ..LIMITS };
    let fixture = Fixture::new(limits);
    let bearer = format!("Bearer {TOKEN}");
    let good = ("authorization", bearer.as_str());
    let json = ("content-type", "application/json");
    let four = r#"[{"slug":"a"},{"slug":"a"},{"slug":"a"},{"slug":"a"}]"#;
    let long = format!(r#"{{"slug":"{}"}}"#, "a".repeat(1_000));
    for (headers, body, status, code) in [
        (&[json][..], "{}", 401, "unauthorized"),
        (&[json, ("authorization", "Bearer 0123456789abcdeF")], "{}", 401, "unauthorized"),
        (&[good], "{}", 415, "content_type"),
        (&[good, ("content-type", "text/plain")], "{}", 415, "content_type"),
        (&[good, json, ("content-encoding", "br")], "{}", 415, "content_encoding"),
        (&[good, json, ("content-encoding", "gzip")], "{}", 400, "gzip"),
        (&[good, json], four, 413, "too_many_records"),
        (&[good, json], &long, 413, "body_too_large"),
        (&[good, json, ("content-length", "1001")], "{}", 413, "body_too_large"),
    ] {
        let answer = fixture.send(headers, body.to_owned()).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &code.into()), "{answer:?}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    // A body that never ends.
    let request = hyper::Request::post(PATH).header("authorization", &bearer);
    let request = request.header("content-type", "application/json");
    let (head, body) = request.body(Never).unwrap().into_parts();
    let answer = read(Arc::clone(&fixture.collector).answer(head, body).await).await;
    assert_eq!((answer.status, &answer.body["code"]), (408, &"body_too_slow".into()));
    assert_eq!(fixture.clicks(|_, _| {}), 0);
}

#[tokio::test]
async fn a_full_outbox_stores_nothing_of_a_request_and_the_answer_has_retry_after() {
    let fixture = Fixture::standard();
    let records = vec![format!(r#"{{"slug":"a","query":"{}"}}"#, "q".repeat(2_000)); 100].join(",");
    let mut taken = 0;
    let refused = loop {
        let answer = fixture.json(&format!("[{records}]")).await;
        match answer.status {
            200 => taken += 100,
            _ => break answer,
        }
    };
    assert_eq!((refused.status, &refused.body["code"]), (503, &"outbox_full".into()));
    assert!(refused.headers.contains_key(RETRY_AFTER) && taken >= 300);
    assert_eq!(fixture.clicks(|_, _| {}), taken);
    let metrics = &fixture.collector.parts.metrics;
    assert_eq!((metrics.undelivered(), metrics.clicks_offered.get()), (0, taken as u64));
    // One click still fits.
    assert_eq!(fixture.json(r#"{"slug":"b"}"#).await.status, 200);
}

#[tokio::test]
async fn a_disk_error_is_no_success() {
    let fixture = Fixture::standard();
    // The next segment cannot be made.
    std::fs::remove_dir_all(fixture.folder.path()).unwrap();
    let answer = fixture.json(r#"{"slug":"a"}"#).await;
    assert_eq!((answer.status, &answer.body["code"]), (503, &"outbox_disk".into()), "{answer:?}");
    assert_eq!(fixture.collector.parts.metrics.undelivered(), 1);
}
