//! Headers that report a query's progress while it runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::World;

/// Runs for two seconds and reads ten rows a second.
const SLOW: &str = "SELECT sum(sleepEachRow(0.1)) FROM numbers(20) SETTINGS max_block_size = 1";
/// Fails after three quarters of that time.
const FAILS: &str = "SELECT sum(sleepEachRow(0.1) + throwIf(number = 15)) FROM numbers(20) \
    SETTINGS max_block_size = 1";

/// An answer: each line of its head with the time of its arrival, and the body.
struct Head {
    lines: Vec<(Duration, String)>,
    body: String,
}

impl Head {
    fn status(&self) -> &str {
        &self.lines[0].1
    }

    fn all(&self, name: &str) -> Vec<(Duration, &str)> {
        let value = |(at, line): &'_ (Duration, String)| -> Option<(Duration, usize)> {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some((*at, line.len() - value.len()))
        };
        let lines = self.lines.iter();
        lines.filter_map(|line| value(line).map(|(at, from)| (at, &line.1[from..]))).collect()
    }
}

/// One connection for several requests.
struct Wire<'w> {
    world: &'w World,
    reader: BufReader<TcpStream>,
}

impl<'w> Wire<'w> {
    fn to(world: &'w World) -> Self {
        let host = world.backends.clickhouse.trim_start_matches("http://");
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { world, reader: BufReader::new(stream) }
    }

    fn send(&mut self, parameters: &str, sql: &str) {
        let (user, password) = &self.world.backends.user;
        let request = format!(
            "POST /?{parameters} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: {user}\r\n\
             X-ClickHouse-Key: {password}\r\nContent-Length: {}\r\n\r\n{sql}",
            sql.len()
        );
        self.reader.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Head {
        let began = Instant::now();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "cut after {lines:?}");
            if line == "\r\n" {
                break;
            }
            lines.push((began.elapsed(), line.trim_end().to_owned()));
        }
        let mut head = Head { lines, body: String::new() };
        let length = head.all("content-length").first().map(|(_, length)| length.parse().unwrap());
        let mut body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut body).unwrap();
        head.body = String::from_utf8(body).unwrap();
        if length.is_none() {
            head.body = self.chunks();
        }
        head
    }

    fn chunks(&mut self) -> String {
        let mut text = String::new();
        loop {
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
            if size == 0 {
                return text;
            }
        }
    }
}

fn number(progress: &str, name: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(progress).unwrap();
    value[name].as_str().unwrap().parse().unwrap()
}

#[test]
fn headers_report_progress_while_a_query_runs() {
    let world = World::new("progress");
    let mut wire = Wire::to(&world);
    let on = "send_progress_in_http_headers=1";
    wire.send(on, SLOW);
    // The next request is sent before the first is answered.
    wire.send("", "SELECT 7");
    let head = wire.read();
    assert_eq!((head.status(), head.body.as_str()), ("HTTP/1.1 200 OK", "0\n"));
    let reported = head.all("x-clickhouse-progress");
    assert!(reported.len() >= 6, "{reported:?}");
    let ((first, early), (last, late)) = (reported[1], reported[reported.len() - 1]);
    assert!(last - first > Duration::from_secs(1), "{reported:?}");
    assert!(number(early, "read_rows") < number(late, "read_rows"), "{reported:?}");
    assert_eq!((number(late, "read_rows"), number(early, "total_rows_to_read")), (20, 20));
    assert!(number(early, "elapsed_ns") < number(late, "elapsed_ns"));
    assert_eq!(head.all("x-clickhouse-summary").len(), 1);
    let next = wire.read();
    assert_eq!((next.status(), next.body.as_str()), ("HTTP/1.1 200 OK", "7\n"));
    assert!(next.all("x-clickhouse-progress").is_empty(), "the request does not ask for it");
    // Less often, on the same connection.
    wire.send(&format!("{on}&http_headers_progress_interval_ms=900"), SLOW);
    let reported = wire.read().all("x-clickhouse-progress").len();
    assert!((2..=4).contains(&reported), "{reported}");
}

#[test]
fn a_query_that_fails_after_progress_headers_reports_it_in_a_header_and_the_body() {
    let world = World::new("progress_fails");
    let mut wire = Wire::to(&world);
    wire.send("send_progress_in_http_headers=1", FAILS);
    let head = wire.read();
    assert_eq!(head.status(), "HTTP/1.1 200 OK", "the status was sent before the query failed");
    assert!(head.all("x-clickhouse-progress").len() > 3);
    assert_eq!(head.all("x-clickhouse-exception-code").len(), 1);
    assert_eq!(head.all("x-clickhouse-exception-code")[0].1, "395");
    assert!(head.body.starts_with("Code: 395"), "{}", head.body);
    // A query that fails at once has its own status.
    wire.send("send_progress_in_http_headers=1", "SELECT nothing");
    assert_eq!(wire.read().status(), "HTTP/1.1 404 Not Found");
}
