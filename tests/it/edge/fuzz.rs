//! The public port under arbitrary bytes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::hostile::request_bytes::{RequestBytes, TOKEN};
use harness::seeded_random::SeededRandom;
use harness::{World, closed_port, metric};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const SEED: u64 = 0x00c1_1c4b_0a7e_5eed;
const THREADS: u64 = 4;
const CLOSE: &[u8] = b"Connection: close\r\n";
const TIME: Duration = Duration::from_secs(6);

/// The result of one connection.
struct Exchange {
    /// The statuses of all responses.
    statuses: Vec<u16>,
    /// Whether the client closed its half, so that the last response may not have been sent.
    is_half_closed: bool,
}

fn exchange(host: &str, bytes: &[u8]) -> Exchange {
    let mut stream = TcpStream::connect(host).expect("the port takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The port may close the connection before all is written.
    stream.write_all(bytes).ok();
    // Without the header the port waits for more, until the client closes its half.
    let is_half_closed = !bytes.windows(CLOSE.len()).any(|part| part == CLOSE);
    if is_half_closed {
        stream.shutdown(std::net::Shutdown::Write).ok();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let heads = text.split("HTTP/1.1 ").skip(1);
    let statuses = heads.filter_map(|head| head.get(..3)?.parse().ok()).collect();
    Exchange { statuses, is_half_closed }
}

#[test]
fn no_request_causes_a_panic_and_the_next_valid_request_is_answered() {
    let world = World::new("fuzz");
    // The port works without broker and registry.
    let no_broker = closed_port().to_string();
    let set = [
        ("KAFKA_BROKERS", no_broker.as_str()),
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
        let mut sender = RequestBytes(SeededRandom::stream(SEED, stream));
        let (mut sent, mut half_closed, mut statuses) = (0, 0, Vec::new());
        while began.elapsed() < TIME {
            let exchange = exchange(&host, &sender.bytes());
            statuses.extend(exchange.statuses);
            half_closed += u32::from(exchange.is_half_closed);
            sent += 1;
            if sent % 200 == 0 {
                assert_eq!(server.get("/a", &[]).status, 302);
            }
        }
        (sent, half_closed, statuses)
    };
    let (mut sent, mut half_closed, mut statuses) = (0, 0, BTreeMap::<u16, u32>::new());
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..THREADS).map(|it| scope.spawn(move || one(it))).collect();
        for thread in threads {
            let (count, closed, heard) = thread.join().expect("a sender does not panic");
            sent += count;
            half_closed += closed;
            heard.into_iter().for_each(|status| *statuses.entry(status).or_default() += 1);
        }
    });
    println!("{sent} connections, seed {SEED:#x}: {statuses:?}");
    assert!(sent > 1_000, "{sent} connections are too few");
    for status in [200, 207, 302, 400, 401, 404, 405, 503] {
        assert!(statuses.contains_key(&status), "no response has status {status}");
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
    // A response to a half-closed connection is counted and may not be sent.
    let unsent = counted - f64::from(server_errors);
    assert!(
        (-0.5..f64::from(half_closed) + 0.5).contains(&unsent),
        "{server_errors} seen, {counted} counted, {half_closed} connections half closed"
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let code = server.stop().code;
    assert!(matches!(code, Some(0 | 75)), "{code:?}");
}
