//! The public port by the hand of whoever sends anything at all.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::seeded_random::SeededRandom;
use harness::{World, closed_port, metric};

const TOKEN: &str = "a-token-of-this-test";
const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const SEED: u64 = 0x00c1_1c4b_0a7e_5eed;
const THREADS: u64 = 4;
const CLOSE: &[u8] = b"Connection: close\r\n";
const TIME: Duration = Duration::from_secs(12);

/// What an answer may be made of.
const PIECES: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "OPTIONS",
    " ",
    "/",
    "/a",
    "/nope",
    "/v1/clicks",
    "/%00",
    "/..",
    "//",
    "?",
    "?q=%ff",
    "*",
    "http://x/",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "\r\n",
    "\r\n\r\n",
    "\n",
    ":",
    "Host: x",
    "Host: [::1]:99999",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999",
    "Transfer-Encoding: chunked",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "Connection: close",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "X-Forwarded-For: ,,,",
    "X-Forwarded-For: 1.2.3.4, [::1",
    "Forwarded: for=\"",
    "DNT: 1",
    "Sec-GPC: 1",
    "traceparent: 00-00",
    "tracestate: ==",
    "User-Agent: \u{fffd}",
    "Authorization: Bearer a-token-of-this-test",
    "Authorization: Bearer ",
    "Content-Type: application/json",
    "Content-Type: application/x-ndjson",
    "Content-Encoding: gzip",
    "{\"slug\":\"a\"}",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    "null",
    "\0",
    "\u{1b}",
    "{\"slug\":\"a\",\"occurred_at\":9223372036854775807}",
    "{\"slug\":\"a\",\"event_id\":\"019aaa00-0000-7000-8000-000000000001\",\"occurred_at\":1}",
];

/// Headers that are whole, if odd.
const HEADERS: &[&str] = &[
    "X-Forwarded-For: ,,,",
    "X-Forwarded-For: 1.2.3.4, [::1",
    "X-Forwarded-For: 203.0.113.7",
    "Forwarded: for=\"",
    "DNT: 1",
    "Sec-GPC: 1",
    "traceparent: 00-00",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate: ==",
    "User-Agent: \u{fffd}",
    "Referer: \t",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Authorization: Bearer a-token-of-this-test",
    "Authorization: Bearer ",
    "Content-Type: application/json",
    "Content-Type: application/x-ndjson",
    "Content-Encoding: gzip",
];

/// Makes up what is sent.
struct Sender(SeededRandom);

impl Sender {
    fn below(&mut self, end: usize) -> usize {
        self.0.index(end)
    }

    fn piece(&mut self) -> &'static str {
        self.0.one(PIECES)
    }

    /// A request that is nearly one, or no request at all.
    fn bytes(&mut self) -> Vec<u8> {
        let mut text = String::new();
        if self.0.once_in(8) {
            (0..self.below(40)).for_each(|_| text.push_str(self.piece()));
        } else {
            self.request(&mut text);
        }
        let mut bytes = text.into_bytes();
        if self.0.once_in(4) {
            for _ in 0..self.below(4).min(bytes.len()) {
                let at = self.below(bytes.len());
                bytes[at] = u8::try_from(self.below(256)).unwrap();
            }
        }
        bytes
    }

    fn request(&mut self, text: &mut String) {
        let method = self.0.one(&["GET", "HEAD", "POST", "POST", "X"]);
        let path = self.0.one(&["/a", "/v1/clicks", "/v1/clicks", "/nope", "/"]);
        let query = self.query();
        text.push_str(&format!("{method} {path}?{query} HTTP/1.1\r\nHost: x\r\n"));
        text.push_str("Connection: close\r\n");
        for _ in 0..self.below(6) {
            let header = if self.0.once_in(20) { self.piece() } else { self.0.one(HEADERS) };
            text.push_str(&format!("{header}\r\n"));
        }
        let lines = (0..self.below(30)).map(|_| match self.below(4) {
            0 => format!("{}\n", self.piece()),
            _ => format!("{{\"slug\":\"a\",\"query\":\"{}\"}}\n", "q".repeat(self.below(3_000))),
        });
        let body: String = lines.collect();
        if self.0.once_in(2) {
            text.push_str("Authorization: Bearer a-token-of-this-test\r\n");
            text.push_str("Content-Type: application/x-ndjson\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    }

    fn query(&mut self) -> String {
        const LETTERS: &[u8] = b"abcxyz0129=&%+-._~/?:@!$'()*,;";
        (0..self.below(30)).map(|_| char::from(self.0.one(LETTERS))).collect()
    }
}

/// What comes back: the statuses of all answers.
fn exchange(host: &str, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(host).expect("the port takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // It may be closed before all is written.
    stream.write_all(bytes).ok();
    // Whoever hangs up is not answered; whoever says that this is all, is.
    if !bytes.windows(CLOSE.len()).any(|part| part == CLOSE) {
        stream.shutdown(std::net::Shutdown::Write).ok();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.filter_map(|head| head.get(..3)?.parse().ok()).collect()
}

#[test]
fn whatever_is_sent_nothing_panics_and_the_next_good_request_is_answered() {
    let world = World::new("fuzz");
    // Nobody behind it: what the port does is no matter of broker and registry.
    let nobody = closed_port().to_string();
    let set = [
        ("KAFKA_BROKERS", nobody.as_str()),
        ("CLICKTRAIL_COLLECTOR_TOKEN", TOKEN),
        ("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("CLICKTRAIL_HEADER_SECONDS", "1"),
        ("CLICKTRAIL_BODY_SECONDS", "1"),
        ("CLICKTRAIL_FLUSH_SECONDS", "1"),
        ("CLICKTRAIL_OUTBOX_BYTES", "1048576"),
    ];
    let mut server = world.serve(LINKS, &set);
    let host = server.url.trim_start_matches("http://").to_owned();
    let began = Instant::now();
    let one = |stream| {
        let (mut sender, mut sent, mut statuses) =
            (Sender(SeededRandom::stream(SEED, stream)), 0, Vec::new());
        while began.elapsed() < TIME {
            statuses.extend(exchange(&host, &sender.bytes()));
            sent += 1;
            if sent % 200 == 0 {
                assert_eq!(server.get("/a", &[]).status, 302);
            }
        }
        (sent, statuses)
    };
    let (mut sent, mut statuses) = (0, BTreeMap::<u16, u32>::new());
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..THREADS).map(|it| scope.spawn(move || one(it))).collect();
        for thread in threads {
            let (count, heard) = thread.join().expect("a sender does not panic");
            sent += count;
            heard.into_iter().for_each(|status| *statuses.entry(status).or_default() += 1);
        }
    });
    println!("{sent} connections, seed {SEED:#x}: {statuses:?}");
    assert!(sent > 1_000, "{sent} connections are few");
    for status in [200, 207, 302, 400, 401, 404, 405, 503] {
        assert!(statuses.contains_key(&status), "{status} is never answered");
    }
    assert_eq!(server.get("/a", &[]).status, 302);
    let server_errors: u32 = statuses.range(500..).map(|(_, count)| count).sum();
    let counted: f64 =
        ["outbox_full", "queue_full", "outbox_disk", "not_durable", "internal", "collector_busy"]
            .iter()
            .filter_map(|result| {
                let labels = format!("{{result=\"{result}\"}}");
                metric(
                    &server.admin,
                    &format!("clicktrail_producer_collector_requests_total{labels}"),
                )
            })
            .sum();
    assert!(
        (f64::from(server_errors) - counted).abs() < 0.5,
        "{server_errors} seen, {counted} counted"
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let code = server.stop().code;
    assert!(matches!(code, Some(0 | 75)), "{code:?}");
}
