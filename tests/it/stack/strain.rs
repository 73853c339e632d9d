//! The stack's ClickHouse under load: large bodies in bounded memory, many clients, malformed
//! requests, an engine that is killed repeatedly. The long forms run with `make strain`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::seeded_random::SeededRandom;
use harness::{Backends, OwnStack, StopFlag, World, until};
use stack::Part;

/// The most memory that the front and its engine may use.
const MEMORY_MAX_MB: u64 = 3072;
const PIECE: usize = 1 << 20;

/// The first in `make test`, the second in `make strain`.
fn either<T>(short: T, long: T) -> T {
    if std::env::var("STRAIN").as_deref() == Ok("long") { long } else { short }
}

/// A ClickHouse for one test, with a database and an empty table `t`.
fn world(name: &str) -> (OwnStack, World) {
    let own = OwnStack::of(&[Part::ClickHouse]);
    let mut world = World::on(Backends::on(&own), name);
    let database = std::mem::replace(&mut world.database, "default".to_owned());
    world.query(&format!("CREATE DATABASE {database}"));
    world.database = database;
    world.query("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n");
    (own, world)
}

fn engine(stack: &OwnStack) -> Option<i32> {
    let status = stack.status().unwrap();
    status.iter().find(|status| status.part == Part::ClickHouse).unwrap().pid
}

fn address(world: &World) -> SocketAddr {
    world.backends.clickhouse.trim_start_matches("http://").parse().unwrap()
}

/// The peak of a process's resident memory since its start, in megabytes.
fn peak_mb(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// The head of a POST for `sql`, whose body has `length` bytes.
fn head(world: &World, sql: &str, length: usize) -> String {
    let (user, password) = &world.backends.user;
    let url = reqwest::Url::parse_with_params("http://x/", [("query", sql)]).unwrap();
    format!(
        "POST /?{} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\n\
         X-ClickHouse-Database: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        url.query().unwrap(),
        world.database
    )
}

fn exchange(world: &World, sql: &str, body: &[u8], times: usize) -> u64 {
    let mut stream = TcpStream::connect(address(world)).unwrap();
    stream.write_all(head(world, sql, body.len() * times).as_bytes()).unwrap();
    for _ in 0..times {
        stream.write_all(body).unwrap();
    }
    let (mut piece, mut seen, mut first) = (vec![0; PIECE], 0, Vec::new());
    loop {
        let length = stream.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        if first.len() < 15 {
            first.extend_from_slice(&piece[..length.min(15)]);
        }
        seen += length as u64;
    }
    assert!(first.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&first));
    seen
}

#[test]
fn a_gigabyte_is_read_and_hundreds_of_megabytes_are_written_in_bounded_memory() {
    let (own, world) = world("large");
    let (read_mb, write_mb) = either((200, 100), (1000, 300));
    let line = format!("7\t{}\n", "x".repeat(1021));
    let body = line.repeat(1024);
    let began = Instant::now();
    exchange(&world, "INSERT INTO t FORMAT TSV", body.as_bytes(), write_mb);
    let rows = 1024 * u64::try_from(write_mb).unwrap();
    assert_eq!(world.number("SELECT count() FROM t"), rows);
    let (wrote, began) = (began.elapsed(), Instant::now());
    let sql = format!("SELECT repeat('y', 999) FROM numbers({})", read_mb * 1000);
    let seen = exchange(&world, &sql, b"", 0);
    let read = began.elapsed();
    assert!(seen > read_mb * 1_000_000, "{seen}");
    let whole = "SELECT repeat('y', 999) AS y FROM numbers(100000) FORMAT JSON";
    assert!(exchange(&world, whole, b"", 0) > 100_000_000);
    let peak = peak_mb(engine(&own).unwrap());
    println!("{write_mb} MB in {wrote:?}, {read_mb} MB out {read:?}, at most {peak} MB in memory");
    assert!(peak < MEMORY_MAX_MB, "{peak} MB");
}

#[test]
fn two_hundred_clients_at_once_each_get_their_own_answers() {
    let (own, world) = world("many");
    let before = engine(&own);
    let world = &world;
    let rounds = either(3, 20);
    std::thread::scope(|scope| {
        for client in 0..200_u64 {
            scope.spawn(move || {
                for round in 0..rounds {
                    let sql = format!("SELECT {client}, sum(number) FROM numbers({round}001)");
                    let expected = (0..round * 1000 + 1).sum::<u64>();
                    assert_eq!(world.query(&sql), format!("{client}\t{expected}"));
                }
                world.query(&format!("INSERT INTO t SELECT {client}, ''"));
            });
        }
    });
    assert_eq!(world.query("SELECT count(), uniqExact(n) FROM t"), "200\t200");
    assert_eq!(engine(&own), before);
}

/// Statements from which wild requests are made; none of them is meant to end the engine.
const SEEDS: [&str; 24] = [
    "SELECT 1",
    "SELECT * FROM t LIMIT 10 FORMAT JSON",
    "INSERT INTO t FORMAT TSV\n1\ta\n",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO t FORMAT Native\n",
    "INSERT INTO t FORMAT RowBinary\n\x01\x02",
    "INSERT INTO t (n) SELECT number FROM numbers(10)",
    "WITH x AS (SELECT 1 AS a) SELECT a FROM x SETTINGS max_threads = 1",
    "SELECT {a:String}, {b:UInt8}",
    "SELECT arrayMap(x -> x + 1, range(100)) FORMAT Parquet",
    "SELECT number FROM numbers(100000) FORMAT RowBinaryWithNamesAndTypes",
    "SELECT toString(number) FROM numbers(1000) FORMAT CSVWithNames",
    "SELECT throwIf(number = 5) FROM numbers(10) FORMAT JSONEachRow",
    "SELECT * FROM (SELECT * FROM system.one)",
    "SHOW TABLES",
    "DESCRIBE TABLE t FORMAT Pretty",
    "EXPLAIN SELECT 1",
    "CREATE TEMPORARY TABLE tt (a UInt8)",
    "KILL QUERY WHERE query_id = 'none' TEST",
    "SET max_threads = 2",
    "OPTIMIZE TABLE t FINAL",
    "SELECT $$heredoc$$, 'a\\'b', \"c\" -- comment\n/* x */",
    "SELECT CAST(map('a', 1) AS Map(LowCardinality(String), UInt8)) AS m FORMAT Native",
    "SELECT number, toLowCardinality(toString(number % 3)) FROM numbers(70000) FORMAT Native",
];
const PARAMETERS: [&str; 26] = [
    "compress=1",
    "decompress=1",
    "wait_end_of_query=1",
    "buffer_size=100000",
    "session_id=a",
    "session_id=b&session_timeout=1",
    "session_check=1",
    "close_session=1",
    "query_id=same",
    "replace_running_query=1",
    "default_format=Native",
    "default_format=nonsense",
    "client_protocol_version=54513",
    "database=absent",
    "param_a=x&param_b=300",
    "param_a=%FF%00",
    "max_threads=-1",
    "no_such_setting=1",
    "enable_http_compression=0",
    "http_zlib_compression_level=99",
    "send_progress_in_http_headers=1&http_headers_progress_interval_ms=10",
    "readonly=1",
    "user=nobody",
    "a_structure=n+UInt8",
    "%%%=&&&==",
    "session_timezone=Europe/Berlin",
];
const HEADERS: [&str; 16] = [
    "Content-Encoding: gzip",
    "Content-Encoding: zstd",
    "Content-Encoding: lz4",
    "Content-Encoding: deflate",
    "Content-Encoding: br",
    "Accept-Encoding: gzip, zstd;q=0",
    "Accept-Encoding: zstd",
    "Accept-Encoding: lz4",
    "Accept-Encoding: deflate",
    "Content-Type: multipart/form-data; boundary=xyz",
    "Content-Type: multipart/form-data; boundary=",
    "X-ClickHouse-Format: JSON",
    "X-ClickHouse-Database: system",
    "Authorization: Basic !!!",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
];

/// A request that is probably malformed, and whether its client disconnects after it.
fn wild(random: &mut SeededRandom, world: &World) -> (Vec<u8>, bool) {
    let (user, password) = &world.backends.user;
    let mut body = random.one(&SEEDS).as_bytes().to_vec();
    for _ in 0..random.between(0, 6).saturating_sub(3) {
        match random.index(4) {
            0 => body.truncate(random.index(body.len() + 1)),
            1 if !body.is_empty() => {
                let at = random.index(body.len());
                body[at] = u8::try_from(random.between(0, 255)).unwrap();
            }
            2 => body.extend_from_slice(random.one(&SEEDS).as_bytes()),
            _ => {
                let at = random.index(body.len() + 1);
                body.splice(
                    at..at,
                    random.one(&["(", "'", ";", "\0", "--", "FORMAT ", "{", "$"]).bytes(),
                );
            }
        }
    }
    if random.once_in(15) {
        let table = "\r\n--xyz\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n1\r\n--xyz--\r\n";
        body = [
            &b"--xyz\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n"[..],
            &body,
            table.as_bytes(),
        ]
        .concat();
    }
    let odd = ["GET", "PUT", "HEAD", "OPTIONS", "BREW"];
    let method = if random.once_in(6) { random.one(&odd) } else { "POST" };
    let odd = ["/ping", "/nowhere", "//", "/?", "/stack/fault"];
    let path = if random.once_in(10) { random.one(&odd) } else { "/" };
    let mut parameters: Vec<_> =
        (0..random.between(0, 2)).map(|_| random.one(&PARAMETERS)).collect();
    if random.once_in(10) {
        parameters.push("query=INSERT+INTO+t+FORMAT+TSV");
    }
    let mut text = format!(
        "{method} {path}?{} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\n\
         X-ClickHouse-Database: {}\r\n",
        parameters.join("&"),
        world.database
    );
    for _ in 0..random.between(0, 4).saturating_sub(2) {
        text += random.one(&HEADERS);
        text += "\r\n";
    }
    // A body that is shorter than its length stands for a client that disconnects.
    let mut gone = random.once_in(10);
    let said = if gone { body.len() + 10 } else { body.len() };
    text += &format!("Connection: close\r\nContent-Length: {said}\r\n\r\n");
    let mut request = text.into_bytes();
    if random.once_in(20) {
        let at = random.index(request.len());
        request[at] = u8::try_from(random.between(0, 255)).unwrap();
        gone = true;
    }
    request.extend(body);
    // A client that announces chunks and sends none would wait without end.
    gone |= request.windows(7).any(|window| window == b"chunked");
    (request, gone)
}

/// Sends a request and reads its answer. Returns the first bytes, or none if it does not end.
fn answered(address: SocketAddr, (request, gone): &(Vec<u8>, bool)) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The front may refuse it before it is sent completely.
    stream.write_all(request).ok();
    if *gone {
        stream.shutdown(std::net::Shutdown::Write).ok();
    }
    let (mut piece, mut first) = (vec![0; 1 << 16], Vec::new());
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Some(first),
            Ok(length) if first.is_empty() => first.extend_from_slice(&piece[..length.min(12)]),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Some(first);
            }
            Err(_) => return None,
        }
    }
}

#[test]
fn malformed_requests_crash_and_block_nothing() {
    let (own, world) = world("wild");
    let (requests, before) = (either(3_000, 100_000_u64), engine(&own));
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let answers = [const { AtomicU64::new(0) }; 3];
    let (next, world, answers) = (&next, &world, &answers);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    let request = wild(&mut SeededRandom::stream(17, number), world);
                    let Some(first) = answered(address(world), &request) else {
                        panic!("request {number} hangs: {}", String::from_utf8_lossy(&request.0));
                    };
                    let of = match first.get(9) {
                        Some(b'2') => &answers[0],
                        Some(_) => &answers[1],
                        None => &answers[2],
                    };
                    of.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let [fine, refused, none] = [0, 1, 2].map(|of| answers[of].load(Ordering::Relaxed));
    println!(
        "{requests} wild requests in {:?}: {fine} answered, {refused} refused, {none} without an answer",
        began.elapsed()
    );
    assert!(fine * 10 > requests && refused * 10 > requests, "{fine} and {refused}");
    assert_eq!(
        engine(&own),
        before,
        "the engine has ended; see {}",
        own.log(Part::ClickHouse).display()
    );
    assert_eq!(world.query("SELECT 1"), "1");
    let wait = "SELECT count() FROM system.processes WHERE query NOT LIKE '%processes%'";
    until("no query runs", || (world.number(wait) == 0).then_some(()));
}

/// Clients insert while the engine is killed. Returns the number of acknowledged batches, and of kills.
fn under_kills(name: &str, clients: u64, kills: u32, time: Duration) -> (usize, u32) {
    const BATCH: u64 = 500;
    let (own, world) = world(name);
    let (over, next) = (StopFlag::default(), AtomicU64::new(0));
    let (over, next, world) = (&over, &next, &world);
    let acknowledged: Vec<u64> = std::thread::scope(|scope| {
        let guard = over.guard();
        let insert = move || {
            let mut acknowledged = Vec::new();
            while !over.is_set() {
                let batch = next.fetch_add(1, Ordering::Relaxed);
                let lines: String =
                    (batch * BATCH..(batch + 1) * BATCH).map(|n| format!("{n}\tx\n")).collect();
                let insert = [("query", "INSERT INTO t FORMAT TSV")];
                match world.send(&world.backends.user, "POST", &insert, lines) {
                    Ok(answer) if answer.status == 200 => acknowledged.push(batch),
                    Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                    Err(_) => {}
                }
                if clients > 1 && batch % 50 == 0 {
                    // Some clients also read; a kill may cut their answers.
                    world.ask("SELECT count(), sum(n) FROM t", &[]).ok();
                }
            }
            acknowledged
        };
        let writers: Vec<_> = (0..clients).map(|_| scope.spawn(insert)).collect();
        for _ in 0..kills {
            std::thread::sleep(time / (kills + 1));
            let before = engine(&own);
            own.crash_engine().unwrap();
            until("the engine is back", || {
                (engine(&own) != before && world.ask("SELECT 1", &[]).is_ok()).then_some(())
            });
        }
        std::thread::sleep(time / (kills + 1));
        drop(guard);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let whole = world.query(&format!(
        "SELECT batch FROM (SELECT intDiv(n, {BATCH}) AS batch, uniqExact(n) AS rows FROM t GROUP BY batch) \
         WHERE rows = {BATCH} ORDER BY batch"
    ));
    let whole: std::collections::HashSet<u64> = whole.lines().map(|n| n.parse().unwrap()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|batch| !whole.contains(batch)).collect();
    assert!(lost.is_empty(), "lost after their acknowledgement: {lost:?}");
    (acknowledged.len(), kills)
}

#[test]
fn an_engine_killed_under_load_loses_no_acknowledged_insert() {
    let (kills, time) = either((3, 3), (20, 60));
    let (batches, kills) = under_kills("killed", 6, kills, Duration::from_secs(time));
    println!("{batches} batches acknowledged, {kills} kills, none lost");
    assert!(batches > 20);
}

#[test]
fn two_clients_lose_no_acknowledged_insert_when_the_engine_is_killed() {
    let time = either(3, 60);
    let (batches, _) = under_kills("two", 2, 1, Duration::from_secs(time));
    println!("{batches} batches acknowledged, none lost");
    assert!(batches > 20);
}
