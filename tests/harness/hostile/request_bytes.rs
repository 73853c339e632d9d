//! Requests to the public port, generated from a seed: from nearly valid ones to arbitrary bytes. Pure.

use super::batch_variants::compress;
use super::click_variants::{around, flipped};
use crate::raw_produce::Codec;
use crate::seeded_random::SeededRandom;

/// The token of the collector, which some requests have.
pub const TOKEN: &str = "a-token-of-this-test";
/// Bytes from which a head is refused.
const HEAD_BYTES: usize = 16 << 10;

/// Parts of a collector body.
const ELEMENTS: &[&str] = &[
    "0",
    "{}",
    "[]",
    "{\"\":0}",
    "\"\"",
    "{\"slug\":\"hostile\"}",
    "{\"slug\":\"hostile\",\"query\":\"\\u0000\\ud83d\\ude00\",\"status\":302}",
    "{\"slug\":\"hostile\",\"status\":99999999999}",
    "{\"slug\":[[[[[[[[{}]]]]]]]]}",
];

/// Parts of a request.
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

/// Complete, unusual headers.
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

/// Generates the requests.
#[derive(Debug)]
pub struct RequestBytes(pub SeededRandom);

impl RequestBytes {
    fn below(&mut self, end: usize) -> usize {
        self.0.index(end)
    }

    fn piece(&mut self) -> &'static str {
        self.0.one(PIECES)
    }

    /// A nearly valid request, or arbitrary bytes.
    pub fn bytes(&mut self) -> Vec<u8> {
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
                bytes[at] = u8::try_from(self.below(256)).expect("below 256");
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

    /// A request with a head at the bound of its bytes or of its fields.
    pub fn head(&mut self) -> Vec<u8> {
        let path = match self.below(3) {
            0 => format!("/{}", "p".repeat(around(&mut self.0, &[8_192, 2_048, HEAD_BYTES]))),
            1 => format!("/a?{}", "%41".repeat(self.below(3_000))),
            _ => "/a".to_owned(),
        };
        let fields = around(&mut self.0, &[100, 30]);
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        match self.below(3) {
            0 => (0..fields).for_each(|n| head.push_str(&format!("X-{n}: {n}\r\n"))),
            1 => {
                let length = around(&mut self.0, &[HEAD_BYTES - head.len().min(HEAD_BYTES / 2)]);
                head.push_str(&format!("Cookie: {}\r\n", "c".repeat(length)));
            }
            _ => head.push_str(&format!("Referer: {}\r\n", "https://".repeat(self.below(900)))),
        }
        format!("{head}\r\n").into_bytes()
    }

    /// A request to the collector with a body that is at a bound, compressed, truncated or no JSON.
    pub fn collected(&mut self) -> Vec<u8> {
        let element = self.0.one(ELEMENTS);
        let all = around(&mut self.0, &[1 << 20, 1 << 16, 2_000, 20_000]);
        let count = (all / (element.len() + 1)).max(1);
        let (separator, kind) = if self.0.once_in(2) { ("\n", "x-ndjson") } else { (",", "json") };
        let list = vec![element; count].join(separator);
        let text = match self.below(6) {
            0 => "[".repeat(all),
            1 => format!("{{\"slug\":\"{}\"}}", "s".repeat(all)),
            _ if separator == "," => format!("[{list}]"),
            _ => list,
        };
        let mut body = text.into_bytes();
        match self.below(6) {
            0 => body = flipped(&mut self.0, body),
            1 => body.truncate(self.below(body.len())),
            _ => {}
        }
        let mut head = format!(
            "POST /v1/clicks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Type: application/{kind}\r\n"
        );
        if self.0.once_in(3) {
            head.push_str("Content-Encoding: gzip\r\n");
            body = match self.below(4) {
                0 => compress(Codec::Gzip, &vec![b' '; 40 << 20]),
                1 => compress(Codec::Gzip, b"{}\n").repeat(around(&mut self.0, &[1_024])),
                2 => body,
                _ => compress(Codec::Gzip, &body),
            };
        }
        let length = body.len() + if self.0.once_in(10) { self.below(3_000) } else { 0 };
        head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
        [head.into_bytes(), body].concat()
    }

    /// The bytes of a client that then stalls: a part of a request, or many requests whose responses it
    /// does not read.
    pub fn stalled(&mut self) -> Vec<u8> {
        let whole = match self.below(4) {
            0 => return Vec::new(),
            1 => return b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(self.below(2_000)),
            2 => self.collected(),
            _ => self.head(),
        };
        whole[..self.below(whole.len())].to_vec()
    }
}
