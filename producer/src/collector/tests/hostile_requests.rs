//! The collector under requests that cost as much as they can.

use std::task::{Context, Waker};

use super::*;

/// A body that arrives in parts.
struct Parts(std::vec::IntoIter<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }
}

impl Fixture {
    /// Answers a request whose body arrives in these parts.
    async fn parts(&self, encoding: &str, parts: Vec<Bytes>) -> Answer {
        let request = hyper::Request::post(PATH)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .header("content-encoding", encoding);
        let (head, body) = request.body(Parts(parts.into_iter())).unwrap().into_parts();
        read(Arc::clone(&self.collector).answer(head, body).await).await
    }

    fn open(&self) -> (i64, i64) {
        let metrics = &self.collector.parts.metrics;
        (metrics.collector_open.get(), metrics.collector_bytes.get())
    }

    fn records(&self, result: &'static str) -> u64 {
        let records = &self.collector.parts.metrics.collector_records;
        records.get_or_create(&ResultLabel { result }).get()
    }
}

fn compressed(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

/// An array that repeats this element.
fn array(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

#[tokio::test]
async fn h8_an_array_of_anything_is_refused_at_its_first_record_too_many() {
    let fixture = Fixture::new(LIMITS);
    for element in ["0", "{}", "[]", r#"{"":0}"#, r#""""#, "null", r#"{"slug":"a"}"#, "[[[[]]]]"] {
        let count = (1 << 20) / (element.len() + 1) - 1;
        for count in [1_001, count.max(1_001)] {
            let body = array(element, count);
            let plain = fixture.parts("identity", vec![body.clone().into()]).await;
            let packed = fixture.parts("gzip", vec![compressed(body.as_bytes())]).await;
            for answer in [plain, packed] {
                let found = (answer.status, &answer.body["code"]);
                assert_eq!(found, (413, &"too_many_records".into()), "{element} {count}");
            }
        }
    }
    assert_eq!((fixture.clicks(|_, _| {}), fixture.open()), (0, (0, 0)));
}

#[tokio::test]
async fn h8_a_hostile_record_costs_its_own_verdict_and_no_other_record() {
    let fixture = Fixture::standard();
    let long = |bytes: usize| "a".repeat(bytes);
    let hostile = [
        ("record_too_large", format!(r#"{{"slug":"{}"}}"#, long(65_536))),
        ("record_too_large", array("0", 40_000)),
        ("record_malformed", format!(r#"{{"slug":{}1{}}}"#, "[".repeat(9_000), "]".repeat(9_000))),
        ("record_malformed", format!(r#"{{"occurred_at":{}}}"#, array("0", 30_000))),
        ("record_malformed", format!(r#"{{"{}":1}}"#, "\\u0001".repeat(9_000))),
        ("record_malformed", format!(r#"{{"status":"{}"}}"#, "\\u0000".repeat(9_000))),
        ("record_malformed", r#"{"slug":"a","slug":"a"}"#.to_owned()),
        ("record_malformed", r#"{"slug":"a","status":1e400}"#.to_owned()),
        ("occurred_at_malformed", format!(r#"{{"slug":"a","occurred_at":"{}"}}"#, long(60_000))),
        ("outcome_unknown", format!(r#"{{"slug":"a","outcome":"{}"}}"#, long(60_000))),
    ];
    let good = r#"{"slug":"good"}"#;
    let mut expected = Vec::new();
    let records: Vec<_> = hostile
        .iter()
        .flat_map(|(code, record)| {
            expected.extend([Some(*code), None]);
            [record.as_str(), good]
        })
        .collect();
    let bearer = format!("Bearer {TOKEN}");
    for (kind, body) in [
        ("application/json", format!("[{}]", records.join(" ,\n"))),
        ("application/x-ndjson", records.join("\n\n\r\n")),
    ] {
        let headers = [("content-type", kind), ("authorization", bearer.as_str())];
        let answer = fixture.send(&headers, body).await;
        assert_eq!(answer.status, 207, "{answer:?}");
        let results = answer.body["records"].as_array().unwrap();
        let codes: Vec<_> = results.iter().map(|it| it["code"].as_str()).collect();
        assert_eq!(codes, expected, "{kind}");
        assert!(results.iter().all(|it| it.to_string().len() < 768), "{answer:?}");
    }
    assert_eq!(fixture.clicks(|click, _| assert_eq!(click.slug, "good")), 20);
    assert_eq!((fixture.records("accepted"), fixture.records("record_too_large")), (20, 4));
}

#[tokio::test]
async fn m3_the_slot_of_a_disconnected_sender_ends_with_the_work() {
    let fixture = Fixture::new(CollectorLimits { bytes: 8 << 20, records: 60_000, ..LIMITS });
    let body = array(r#"{"slug":"a","outcome":"none"}"#, 60_000);
    let mut open_after_it_had_gone = false;
    for milliseconds in [5, 20, 60, 150] {
        let answer = fixture.parts("identity", vec![body.clone().into()]);
        // The sender disconnects while its records are read.
        if tokio::time::timeout(Duration::from_millis(milliseconds), answer).await.is_err() {
            open_after_it_had_gone |= fixture.open().0 == 1;
        }
        for _ in 0..1_000 {
            if fixture.open() == (0, 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(fixture.open(), (0, 0), "the slot ends with the work");
    }
    assert!(open_after_it_had_gone, "the work continues and is not in the gauge");
}

#[tokio::test]
async fn m4_a_body_in_parts_of_a_byte_is_read_as_one_in_one_part() {
    let fixture = Fixture::standard();
    let body = array(r#"{"slug":"ä","user_agent":"M"}"#, 100);
    for (encoding, body) in
        [("identity", body.clone().into_bytes()), ("gzip", compressed(body.as_bytes()).into())]
    {
        let parts = body.chunks(1).map(Bytes::copy_from_slice).collect();
        let answer = fixture.parts(encoding, parts).await;
        assert_eq!((answer.status, answer.body["accepted"].as_u64()), (200, Some(100)));
    }
    assert_eq!(fixture.clicks(|click, _| assert_eq!(click.slug, "ä")), 200);
    // The bound counts bytes, not parts.
    let too_large = vec![Bytes::from_static(b" "); (1 << 20) + 1];
    assert_eq!(fixture.parts("identity", too_large).await.body["code"], "body_too_large");
    let empty = vec![Bytes::new(); 1 << 16];
    assert_eq!(
        fixture.parts("identity", empty).await.body["records"][0]["code"],
        "record_malformed"
    );
}

#[tokio::test]
async fn h8_a_request_holds_its_slot_until_its_answer_is_taken() {
    let fixture = Fixture::standard();
    let request = || {
        let request = hyper::Request::post(PATH)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/x-ndjson");
        let (head, body) =
            request.body(Full::new(Bytes::from("x\n".repeat(100)))).unwrap().into_parts();
        Arc::clone(&fixture.collector).answer(head, body)
    };
    let mut kept = Vec::new();
    for _ in 0..64 {
        kept.push(request().await);
    }
    assert_eq!(fixture.open(), (64, 64 << 20), "each of them may have a mebibyte");
    let refused = read(request().await).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &"collector_busy".into()));
    assert!(refused.headers.contains_key(RETRY_AFTER));
    let taken = read(kept.pop().unwrap()).await;
    assert_eq!((taken.status, taken.body["rejected"].as_u64()), (400, Some(100)));
    assert_eq!(fixture.open().0, 63);
    drop(kept);
    assert_eq!((fixture.open(), request().await.status().as_u16()), ((0, 0), 400));
}

#[tokio::test]
async fn a_sender_that_ends_its_connection_after_the_body_has_its_clicks_counted() {
    let fixture = Fixture::standard();
    let request = hyper::Request::post(PATH)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json");
    let (head, body) =
        request.body(Full::new(Bytes::from(r#"[{"slug":"a"}]"#))).unwrap().into_parts();
    let mut answer = Box::pin(Arc::clone(&fixture.collector).answer(head, body));
    let mut context = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut context).is_pending(), "it is in work");
    drop(answer);
    let counted = async {
        while fixture.records("accepted") == 0 || fixture.open() != (0, 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("it is counted");
}

#[tokio::test]
async fn h8_bodies_that_might_exceed_the_memory_are_refused_before_they_are_read() {
    let fixture = Fixture::new(CollectorLimits { bytes: 64 << 20, ..LIMITS });
    let never = || {
        let request = hyper::Request::post(PATH)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json");
        let (head, body) = request.body(Never).unwrap().into_parts();
        Box::pin(Arc::clone(&fixture.collector).answer(head, body))
    };
    let mut first = never();
    let waits = tokio::time::timeout(Duration::from_millis(20), &mut first).await;
    assert!(waits.is_err());
    let refused = read(never().await).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &"collector_busy".into()));
    drop(first);
    assert_eq!((fixture.open(), fixture.json("[]").await.status), ((0, 0), 200));
}

#[tokio::test]
async fn m6_clicks_of_any_day_are_accepted_within_the_window_only() {
    let fixture = Fixture::new(LIMITS);
    let now = now();
    let day = schemas::bounds::DAY_US;
    let records: Vec<_> = (0..1_000)
        .map(|ago| format!(r#"{{"slug":"a","occurred_at":{}}}"#, now - ago * 9 * day))
        .collect();
    let answer = fixture.json(&format!("[{}]", records.join(","))).await;
    assert_eq!((answer.status, answer.body["accepted"].as_u64()), (207, Some(4)), "{answer:?}");
    assert_eq!(answer.body["records"][999]["code"], "occurred_at_too_old");
    assert_eq!(fixture.records("occurred_at_too_old"), 996);
    let old = fixture.json(&format!("[{}]", records[4..].join(","))).await;
    assert_eq!(old.status, 400);
}
