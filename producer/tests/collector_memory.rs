//! The memory that a request to the collector allocates, for any body.
//!
//! A separate program, so that its counting allocator counts nothing else.

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "an allocator is unsafe; this one counts and passes on")]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::convert::Infallible;
    use std::io::Write as _;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use bytes::Bytes;
    use hyper::body::{Body, Frame};
    use producer::client::day_keys::KeyRing;
    use producer::client::privacy::PrivacyPolicies;
    use producer::collector::collector_limits::CollectorLimits;
    use producer::collector::{Collector, CollectorParts, PATH};
    use producer::metrics::Metrics;
    use producer::outbox::Outbox;
    use producer::outbox::outbox_settings::{BYTES_MIN, OutboxSettings, QueueLimits};

    const TOKEN: &str = "0123456789abcdef";
    const BODY: usize = 1 << 20;
    const LIMITS: CollectorLimits =
        CollectorLimits { bytes: BODY, time: Duration::from_secs(5), records: 1_000, days: 30 };

    static NOW: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);

    struct Counting;

    impl Counting {
        fn add(bytes: usize) {
            let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
            PEAK.fetch_max(now, Ordering::Relaxed);
        }
    }

    // SAFETY: every call is passed unchanged to the allocator of the system.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            Self::add(layout.size());
            // SAFETY: the caller keeps the contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            NOW.fetch_sub(layout.size(), Ordering::Relaxed);
            // SAFETY: the caller keeps the contract.
            unsafe { System.dealloc(at, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// A body that arrives in parts of this size.
    struct Parts {
        body: Bytes,
        part: usize,
    }

    impl Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.body.is_empty() {
                return Poll::Ready(None);
            }
            // A copy, since a connection passes on its own memory.
            let length = self.part.min(self.body.len());
            let part = Bytes::copy_from_slice(&self.body.split_to(length));
            Poll::Ready(Some(Ok(Frame::data(part))))
        }
    }

    fn collector(folder: &std::path::Path) -> Arc<Collector> {
        let metrics = Metrics::default();
        let queue = QueueLimits { clicks: 1 << 20, bytes: 64 << 20 };
        let settings = OutboxSettings::new(BYTES_MIN * 64, queue);
        let outbox = Outbox::open(folder, settings, schemas::NEWEST, &metrics, Arc::default());
        Arc::new(Collector::new(CollectorParts {
            tokens: TOKEN.parse().unwrap(),
            limits: LIMITS,
            outbox: Arc::new(outbox.unwrap()),
            privacy: PrivacyPolicies::default(),
            keys: Arc::new(KeyRing::new(2, metrics.clone())),
            node: "n".repeat(256),
            metrics,
        }))
    }

    fn compressed(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    /// As many copies of an element as a body holds, at most `count`.
    fn array(element: &str, count: usize) -> String {
        let count = count.min((BODY - 2) / (element.len() + 1));
        format!("[{}]", vec![element; count].join(","))
    }

    /// The status of a request, and the most bytes that it allocated at once beside its body.
    async fn cost(
        collector: &Arc<Collector>,
        format: &str,
        encoding: &str,
        body: Parts,
    ) -> (u16, usize) {
        let request = hyper::Request::post(PATH)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", format!("application/{format}"))
            .header("content-encoding", encoding)
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("tracestate", format!("a={}", "x".repeat(500)));
        let (head, body) = request.body(body).unwrap().into_parts();
        let before = NOW.load(Ordering::SeqCst);
        PEAK.store(before, Ordering::SeqCst);
        let answer = Arc::clone(collector).answer(head, body).await;
        (answer.status().as_u16(), PEAK.load(Ordering::SeqCst).saturating_sub(before))
    }

    #[tokio::test]
    async fn h8_no_body_makes_a_request_allocate_more_than_its_stated_bound() {
        let folder = tempfile::tempdir().unwrap();
        let collector = collector(folder.path());
        let record = |texts: &str| format!(r#"{{"slug":"a"{texts}}}"#);
        let many = usize::MAX;
        let long = "\\u0001".repeat(150);
        let bodies = [
            (array("0", many), 413),
            (array("0", 1_000), 400),
            (array("{}", many), 413),
            (array("{}", 1_000), 400),
            (array("[]", many), 413),
            (array(r#"{"":0}"#, many), 413),
            (array(r#"{"":0}"#, 1_000), 400),
            (array(&format!(r#"{{"{long}":0}}"#), 1_000), 400),
            (array(&format!(r#"{{"status":"{long}"}}"#), 1_000), 400),
            (array(&format!(r#"{{"occurred_at":{}}}"#, array("0", 400)), 1_000), 400),
            (array(&array("0", many)[..BODY / 2], 1), 400),
            (array(&record(&format!(r#","query":"{}""#, "q".repeat(1_000))), 1_000), 200),
            (array(&record(r#","user_agent":"M","client_ip":"1.2.3.4""#), 1_000), 200),
            ("[".repeat(BODY), 400),
            ("{\"slug\":".repeat(BODY / 8), 400),
            (format!(r#"{{"slug":"{}"}}"#, "\\u0041".repeat(BODY / 7)), 400),
            (" ".repeat(BODY), 400),
        ];
        // What the outbox and the runtime allocate once.
        let warm = Parts { body: "[]".into(), part: BODY };
        cost(&collector, "json", "identity", warm).await;
        // The queue of the outbox has its own bound; a batch may let it grow.
        let queue = 4 << 20;
        let bound = LIMITS.held_bytes(None, true) + LIMITS.work_bytes();
        assert!(bound < 13 << 20, "{bound}");
        for (body, expected) in bodies {
            let name: String = body.chars().take(60).collect();
            let lines = body.replace(",", "\n");
            for (format, body) in [("json", body), ("x-ndjson", lines)] {
                let plain = Parts { body: body.clone().into(), part: BODY };
                let packed = Parts { body: compressed(body.as_bytes()), part: BODY };
                let (status, plain) = cost(&collector, format, "identity", plain).await;
                let (_, packed) = cost(&collector, format, "gzip", packed).await;
                println!("{format} {name}: {status}, {plain} and {packed} bytes");
                assert!(plain.max(packed) < bound + queue, "{name}: {plain} {packed}");
                assert!(format != "json" || status == expected, "{name}: {status}");
            }
        }
        let parts = Parts { body: " ".repeat(BODY).into(), part: 1 };
        let (_, bytes) = cost(&collector, "json", "identity", parts).await;
        println!("parts of a byte: {bytes} bytes");
        assert!(bytes < 3 << 20, "m4: parts of a byte cost {bytes} bytes");
    }
}
