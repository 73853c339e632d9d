//! Clients that open many connections do not lock visitors out, and the outbox can still open files.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use harness::{World, closed_port, free_port, get, metric};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const VISIT: &[u8] = b"GET /a HTTP/1.1\r\nHost: go.example\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection from one of the loopback addresses, after one visit.
async fn visit(from: u8, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
    let mut stream = timeout(PATIENCE, socket.connect(to)).await.ok()?.ok()?;
    visit_again(&mut stream).await.then_some(stream)
}

async fn visit_again(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 1024];
    if stream.write_all(VISIT).await.is_err() {
        return false;
    }
    let read = timeout(PATIENCE, stream.read(&mut answer)).await;
    matches!(read, Ok(Ok(count)) if answer[..count].starts_with(b"HTTP/1.1 302 "))
}

fn run<T>(client: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(client)
}

fn limited(admin: &str, limit: &str) -> f64 {
    let name = format!("clicktrail_producer_limited_total{{limit=\"{limit}\"}}");
    metric(admin, &name).unwrap_or(0.0)
}

#[test]
fn h9_visitors_are_answered_while_a_few_hosts_take_every_connection() {
    let world = World::new("connections");
    let closed_broker = closed_port().to_string();
    let set = [
        ("KAFKA_BROKERS", closed_broker.as_str()),
        ("CLICKTRAIL_CONNECTIONS", "48"),
        ("CLICKTRAIL_CONNECTIONS_PER_CLIENT", "16"),
        ("CLICKTRAIL_FLUSH_SECONDS", "0"),
    ];
    let mut server = world.serve(LINKS, &set);
    let host: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    run(async {
        let mut visitor = visit(1, host).await.unwrap();
        let mut others = Vec::new();
        // Two hosts, each above its share; then five, together above the port's bound.
        for (hosts, connections) in [(2, 50), (5, 30)] {
            for number in 0..connections * hosts {
                let other = visit(2 + number % hosts, host).await;
                others.push(other.expect("each is answered once"));
                if number % 10 == 0 {
                    assert!(
                        visit_again(&mut visitor).await,
                        "an active visitor keeps the connection"
                    );
                }
            }
        }
        for _ in 0..9 {
            assert!(visit(1, host).await.is_some(), "a new visitor is answered");
        }
    });
    assert_eq!(metric(&server.admin, "clicktrail_producer_connections_bound"), Some(48.0));
    let (port, client) =
        (limited(&server.admin, "connections"), limited(&server.admin, "client_connections"));
    assert!(port >= 1.0 && client >= 68.0, "{port} {client}");
    server.stop().expect_code(0);
}

/// The command with a soft and a hard limit of file descriptors.
fn with_descriptors(command: &Command, soft: u32, hard: u32) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$@\"");
    limited.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[test]
fn h10_connections_reserve_descriptors_for_the_outbox_and_raise_the_soft_limit() {
    let world = World::new("descriptors");
    let (public, admin, closed_broker) = (free_port(), free_port(), closed_port().to_string());
    let links = world.folder().join("links.jsonl");
    std::fs::write(&links, LINKS).unwrap();
    let set = [
        ("KAFKA_BROKERS", closed_broker.as_str()),
        ("CLICKTRAIL_OUTBOX_BYTES", "1048576"),
        ("CLICKTRAIL_FLUSH_SECONDS", "0"),
    ];
    let mut command = world.command("producer", &set);
    command.args(["serve", "--links"]).arg(&links);
    command.args(["--listen", &public.to_string(), "--admin-listen", &admin.to_string()]);
    let mut server = world.start(with_descriptors(&command, 300, 400));
    let page = format!("http://{admin}");
    server.until("it is ready", || {
        get(&format!("{page}/readyz")).ok().filter(|answer| answer.status == 200)
    });
    let bound = metric(&page, "clicktrail_producer_connections_bound");
    assert_eq!(bound, Some(200.0), "half of the hard limit");
    run(async {
        let mut held = Vec::new();
        // More than the descriptors, and more than the share of each address.
        for _ in 0..80 {
            for from in 1..=5 {
                held.push(visit(from, public).await.expect("each is answered"));
            }
        }
        // Enough clicks for several segments, each a new file.
        for _ in 0..1_500 {
            assert!(visit_again(held.last_mut().unwrap()).await);
        }
        assert!(visit(9, public).await.is_some(), "a new visitor is answered");
    });
    assert!(metric(&page, "clicktrail_producer_outbox_bytes").unwrap() > 200_000.0);
    let summary = server.stop().expect_code(0).summary("serve");
    assert_eq!((summary.get("clicks"), summary.get("undelivered")), (1_901, 0));
}
