//! The public port by the hand of whoever sends anything at all.

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
const TIME: Duration = Duration::from_secs(12);

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
            (RequestBytes(SeededRandom::stream(SEED, stream)), 0, Vec::new());
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
