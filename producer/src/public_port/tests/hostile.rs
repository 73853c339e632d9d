//! The public port under clients that want to keep others out, fill the outbox or decide for it.
#![expect(clippy::disallowed_methods, reason = "a test measures how long it waits")]

use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::client::privacy::{PrivacyPolicies, PrivacyPolicy};

const VISIT: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(2);

fn bounded(max: usize, per_client: usize) -> PortLimits {
    PortLimits { connections: PortConnections { max, per_client }, ..limits() }
}

/// A connection from one of the loopback addresses.
async fn connect(from: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether a connection is answered a visit with a redirect.
async fn is_redirected(stream: &mut TcpStream) -> bool {
    let mut answer = vec![0; 4096];
    if stream.write_all(VISIT).await.is_err() {
        return false;
    }
    match timeout(PATIENCE, stream.read(&mut answer)).await {
        Ok(Ok(count)) => answer[..count].starts_with(b"HTTP/1.1 302 "),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[tokio::test]
async fn h9_visitors_are_answered_while_another_client_takes_every_connection() {
    let (_, _, metrics) =
        with(Script::default(), ClientPolicy::default(), bounded(8, 4), async |address| {
            let mut visitor = connect(1, address).await;
            assert!(is_redirected(&mut visitor).await);
            let mut others = Vec::new();
            for turn in 0..40 {
                let mut other = connect(2, address).await;
                // Silent, in the middle of a head, or between two requests.
                match turn % 3 {
                    0 => {}
                    1 => other.write_all(b"GET /a HTTP/1.1\r\nHo").await.unwrap(),
                    _ => assert!(is_redirected(&mut other).await),
                }
                others.push(other);
            }
            // Not even an idle visitor has lost the connection.
            assert!(is_redirected(&mut visitor).await);
            for _ in 0..9 {
                assert!(is_redirected(&mut connect(1, address).await).await);
            }
        })
        .await;
    assert!(limited(&metrics, "client_connections") >= 36);
}

#[tokio::test]
async fn h9_without_a_free_slot_the_connection_that_is_idle_longest_is_closed() {
    let (_, _, metrics) =
        with(Script::default(), ClientPolicy::default(), bounded(4, 4), async |address| {
            let (mut busy, mut idle) = (connect(1, address).await, connect(2, address).await);
            assert!(is_redirected(&mut busy).await && is_redirected(&mut idle).await);
            let mut held = Vec::new();
            for from in 3..23 {
                let mut other = connect(from, address).await;
                assert!(is_redirected(&mut other).await, "the {from}th");
                sleep(Duration::from_millis(5)).await;
                assert!(is_redirected(&mut busy).await, "one that makes progress stays");
                held.push(other);
            }
            assert_eq!(idle.read(&mut [0; 9]).await.unwrap_or(0), 0, "closed");
        })
        .await;
    assert_eq!(limited(&metrics, "connections"), 18);
}

#[tokio::test]
async fn h9_a_trusted_proxy_has_the_connections_of_many_clients() {
    let proxies = Proxies { trusted: "127.0.0.0/8".parse().unwrap(), ..Proxies::default() };
    let client_policy = ClientPolicy { proxies, ..ClientPolicy::default() };
    let (_, _, metrics) = with(Script::default(), client_policy, bounded(4, 1), async |address| {
        let mut proxy = Vec::new();
        for _ in 0..4 {
            proxy.push(connect(1, address).await);
        }
        for connection in &mut proxy {
            assert!(is_redirected(connection).await);
        }
    })
    .await;
    assert_eq!(limited(&metrics, "client_connections"), 0);
}

#[tokio::test]
async fn l2_a_connection_ends_at_its_age_with_a_whole_answer() {
    let old = PortLimits { age: Duration::from_millis(500), ..limits() };
    with(Script::default(), ClientPolicy::default(), old, async |address| {
        let (mut stream, began) = (TcpStream::connect(address).await.unwrap(), Instant::now());
        let mut answer = String::new();
        while !answer.contains("connection: close") {
            stream.write_all(VISIT).await.unwrap();
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            answer = String::from_utf8(piece[..count].to_vec()).unwrap();
            assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
            assert!(began.elapsed() < Duration::from_secs(4), "it never ends");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    })
    .await;
}

#[test]
fn l2_no_connection_is_cut_by_its_age_while_a_request_has_an_answer_coming() {
    let seconds = Duration::from_secs;
    for (head, write, work, grace) in [
        (15, 15, None, 30),
        (15, 15, Some(45), 75),
        (3_600, 1, Some(3_630), 7_231),
        (u64::MAX, 15, Some(45), u64::MAX),
    ] {
        let limits = PortLimits { head: seconds(head), write: seconds(write), ..limits() };
        assert_eq!(age_grace(limits, work.map(seconds)).as_secs(), grace);
    }
}

#[tokio::test]
async fn l1_a_request_with_no_host_or_two_is_answered_400_and_is_no_click() {
    let (_, sink, _) =
        with(Script::default(), ClientPolicy::default(), limits(), async |address| {
            for (head, status) in [
                ("GET /a HTTP/1.1\r\n", "400"),
                ("GET http://go.example/a HTTP/1.1\r\n", "400"),
                ("POST /v1/clicks HTTP/1.1\r\nContent-Length: 0\r\n", "400"),
                ("GET /a HTTP/1.1\r\nHost: other\r\nHost: go.example\r\n", "400"),
                ("GET /a HTTP/1.1\r\nHost: go.example\r\nhost: go.example\r\n", "400"),
                ("GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n", "400"),
                ("GET /a HTTP/1.0\r\n", "302"),
                ("GET /a HTTP/1.1\r\nHost:\r\nConnection: close\r\n", "302"),
            ] {
                let answer = exchange(address, format!("{head}\r\n").as_bytes()).await;
                assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
                assert_eq!(answer.matches("HTTP/1.").count(), 1, "{answer}");
            }
        })
        .await;
    assert_eq!(sink.records.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn m1_every_answer_but_a_redirect_counts_against_the_limit_and_the_reserve() {
    let paths =
        ["/robots.txt", "/", "/favicon.ico", "/.well-known/x", "/nope", "/off", "/old", "/back"];
    for path in paths {
        let unknown = Some(Arc::new(RateLimiter::new(3)));
        let client_policy = ClientPolicy { unknown, ..ClientPolicy::default() };
        let (answer, sink, metrics) =
            with(Script::default(), client_policy, limits(), async |address| {
                let one = format!("GET {path} HTTP/1.1\r\nHost: go.example\r\n\r\n");
                let mut bytes = one.repeat(9).into_bytes();
                bytes.extend(request("GET /a", ""));
                exchange(address, &bytes).await
            })
            .await;
        assert_eq!(answer.matches("HTTP/1.1 429 ").count(), 6, "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 302 ").count(), 1, "{path}: {answer}");
        assert_eq!(limited(&metrics, "unknown_slugs"), 6);
        let records = sink.records.lock().unwrap().len();
        assert_eq!((records, sink.unreserved.load(Ordering::Relaxed)), (4, 3), "{path}");
    }
}

#[tokio::test]
async fn m10_a_host_that_is_none_is_not_recorded_and_the_visitor_is_redirected() {
    for (host, domain) in [
        (r"\') union all select max(424242) from clicks where 1=1 -- go.example", None),
        ("go.example\\", None),
        ("a'b", None),
        ("a b", None),
        ("go.example/x", None),
        ("\u{fc}.example", Some("xn--tda.example")),
    ] {
        let bytes = format!("GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (answer, sink, _) =
            with(Script::default(), ClientPolicy::default(), limits(), async |address| {
                exchange(address, bytes.as_bytes()).await
            })
            .await;
        assert!(answer.starts_with("HTTP/1.1 302 "), "{host}: {answer}");
        let records = sink.records.lock().unwrap();
        let decoder = Decoder::new(NEWEST).unwrap();
        assert_eq!(decoder.decode(&records[0].0).unwrap().domain, domain, "{host}");
    }
}

#[tokio::test]
async fn m14_a_click_without_identifiers_is_in_no_trace() {
    let privacy = PrivacyPolicies { signals: PrivacyPolicy::Strip, ..PrivacyPolicies::default() };
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
        tracestate: v=1\r\n";
    for (signal, stripped) in [("Sec-GPC: 1\r\n", true), ("DNT: 1\r\n", true), ("", false)] {
        for trusted in ["", "127.0.0.0/8"] {
            let proxies = Proxies { trusted: trusted.parse().unwrap(), ..Proxies::default() };
            let client_policy = ClientPolicy { privacy, proxies, ..ClientPolicy::default() };
            let (answer, sink, _) =
                with(Script::default(), client_policy, limits(), async |address| {
                    exchange(address, &request("GET /a", &format!("{signal}{trace}"))).await
                })
                .await;
            let records = sink.records.lock().unwrap();
            let (datum, traceparent, tracestate) = &records[0];
            let decoder = Decoder::new(NEWEST).unwrap();
            let click = decoder.decode(datum).unwrap();
            assert_eq!(
                (click.outcome, click.identifiers_stripped),
                (Outcome::Redirected, stripped)
            );
            let absent = [traceparent, tracestate].map(String::is_empty);
            assert_eq!(absent, [stripped; 2], "{signal}");
            assert_eq!(!answer.contains("traceparent: "), stripped, "{answer}");
        }
    }
}
