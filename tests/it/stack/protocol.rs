//! Details of ClickHouse's HTTP protocol at the stack's ClickHouse: content codings, sessions, query
//! ids, clients that disconnect, and crashes of the engine.

use std::io::Read as _;
use std::time::{Duration, Instant};

use harness::{Answer, OwnStack, World, until};
use reqwest::blocking::{Client, RequestBuilder};
use stack::Part;

const CODE: &str = "x-clickhouse-exception-code";
/// A query that ends only when it is cancelled.
const ENDLESS: &str = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1";

/// A database with an empty table `t`.
fn world(name: &str) -> World {
    empty(World::new(name))
}

fn empty(mut world: World) -> World {
    let database = std::mem::replace(&mut world.database, "default".to_owned());
    world.query(&format!("CREATE DATABASE {database}"));
    world.database = database;
    world.query("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n");
    world
}

/// A request of the user that may write, for the caller to complete and send.
fn raw(world: &World, parameters: &[(&str, &str)]) -> RequestBuilder {
    let base = format!("{}/", world.backends.clickhouse);
    let url = reqwest::Url::parse_with_params(&base, parameters).unwrap();
    let (user, password) = &world.backends.user;
    Client::new()
        .post(url)
        .header("X-ClickHouse-User", user)
        .header("X-ClickHouse-Key", password)
        .header("X-ClickHouse-Database", &world.database)
        .timeout(Duration::from_secs(60))
}

fn ask(world: &World, parameters: &[(&str, &str)], body: &str) -> Answer {
    world.send(&world.backends.user, "POST", parameters, body).unwrap()
}

/// Compresses with the tool of that name; `None` if the machine does not have it.
fn compressed(tool: &str, data: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new(tool);
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(data).unwrap();
    Some(child.wait_with_output().unwrap().stdout)
}

#[test]
fn a_session_keeps_its_tables_and_settings_and_runs_one_query_at_a_time() {
    let world = world("session");
    let id = uuid::Uuid::new_v4().to_string();
    let mine = [("session_id", id.as_str())];
    let own = |sql: &str| ask(&world, &mine, sql);
    assert_eq!(own("CREATE TEMPORARY TABLE own (n UInt8)").status, 200);
    assert_eq!(own("INSERT INTO own VALUES (7)").status, 200);
    assert_eq!(own("SET max_threads = 3").status, 200);
    assert_eq!(own("SELECT n, getSetting('max_threads') FROM own").body, "7\t3\n");
    // The settings of one request do not stay in its session.
    let once = [("session_id", id.as_str()), ("max_threads", "2"), ("max_block_size", "9")];
    let sql = "SELECT getSetting('max_threads'), getSetting('max_block_size')";
    assert_eq!(ask(&world, &once, sql).body, "2\t9\n");
    assert_eq!(own(sql).body.split('\t').next(), Some("3"));
    assert_ne!(own(sql).body, "3\t9\n");
    assert_eq!(own("SELECT currentDatabase()").body, format!("{}\n", world.database));
    // A session of that name of another user is another session; that of the reader only reads.
    let reader = |sql: &str| world.send(&world.backends.reader, "POST", &mine, sql).unwrap();
    assert_eq!(reader("SELECT n FROM own").header(CODE), Some("60"));
    for sql in ["SET readonly = 0", "INSERT INTO t VALUES (1, '')", "DROP TABLE t"] {
        assert!(reader(sql).status >= 400, "{sql}");
    }
    assert_eq!(world.number("SELECT count() FROM t"), 0);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| own("SELECT sleep(1.97)"));
        until("the session is in use", || (running(&world, "sleep(1.97)") > 0).then_some(()));
        let locked = own("SELECT 1");
        assert_eq!((locked.status, locked.header(CODE)), (500, Some("373")), "{locked:?}");
        assert_eq!(slow.join().unwrap().status, 200);
    });
    let read =
        world.send(&world.backends.user, "GET", &[mine[0], ("query", "TRUNCATE TABLE t")], "");
    assert_eq!(read.unwrap().header(CODE), Some("164"));
    assert_eq!(own("INSERT INTO t VALUES (1, '')").status, 200, "a GET does not lock a session");
    let close = [("session_id", id.as_str()), ("close_session", "1")];
    assert_eq!(ask(&world, &close, "SELECT 1").status, 200);
    let check = [("session_id", id.as_str()), ("session_check", "1")];
    assert_eq!(ask(&world, &check, "SELECT 1").header(CODE), Some("372"));
    let long = [("session_id", id.as_str()), ("session_timeout", "4000")];
    assert_eq!(ask(&world, &long, "SELECT 1").header(CODE), Some("374"));
    let short = [("session_id", id.as_str()), ("session_timeout", "1")];
    assert_eq!(ask(&world, &short, "SELECT 1").status, 200);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(ask(&world, &check, "SELECT 1").header(CODE), Some("372"));
}

#[test]
fn a_query_id_is_unique_and_kill_query_finds_it() {
    let world = world("names");
    let id = uuid::Uuid::new_v4().to_string();
    let named = [("query_id", id.as_str())];
    let endless = |number: u32| format!("{ENDLESS} AND number != {number}");
    let (first, second) = (endless(42003), endless(42004));
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| ask(&world, &named, &first));
        until("the query runs", || (running(&world, "42003") > 0).then_some(()));
        let twice = ask(&world, &named, "SELECT 1");
        assert_eq!((twice.status, twice.header(CODE)), (500, Some("216")), "{twice:?}");
        let began = Instant::now();
        let kill = format!("KILL QUERY WHERE query_id = '{id}' SYNC");
        until("the query is killed", || {
            Some(ask(&world, &[], &kill).body).filter(|body| body.contains("sipHash64"))
        });
        let killed = endless.join().unwrap();
        assert_eq!((killed.status, killed.header(CODE)), (500, Some("394")), "{killed:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let replaced = scope.spawn(|| ask(&world, &named, &second));
        until("it runs again", || (running(&world, "42004") > 0).then_some(()));
        let replace = [("query_id", id.as_str()), ("replace_running_query", "1")];
        assert_eq!(ask(&world, &replace, "SELECT 5").body, "5\n");
        assert_eq!(replaced.join().unwrap().header(CODE), Some("394"));
    });
}

/// Queries that run, apart from the one that asks.
fn running(world: &World, word: &str) -> u64 {
    world.number(&format!(
        "SELECT count() FROM system.processes WHERE query LIKE '%{word}%' AND query NOT LIKE '%processes%'"
    ))
}

#[test]
fn a_query_ends_within_a_second_after_its_client_disconnects() {
    let world = world("disconnect");
    for (what, sql) in [
        ("before its answer has begun", format!("{ENDLESS} AND number != 42001")),
        (
            "after its answer has begun",
            "SELECT number, repeat('x', 100) FROM numbers(10000000) WHERE number != 42002"
                .to_owned(),
        ),
    ] {
        let word = sql.rsplit(' ').next().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let world = &world;
            let sql = sql.clone();
            scope.spawn(move || {
                let request = raw(world, &[]).body(sql).timeout(Duration::from_millis(1500));
                let mut some = [0; 100_000];
                if let Ok(mut answer) = request.send() {
                    answer.read_exact(&mut some).unwrap();
                }
                send.send(()).unwrap();
            });
            until("it runs", || (running(world, word) > 0).then_some(()));
            receive.recv().unwrap();
        });
        let began = Instant::now();
        until("it has ended", || (running(&world, word) == 0).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(1), "{what}: {:?}", began.elapsed());
    }
}

#[test]
fn bodies_and_answers_are_sent_in_every_content_coding() {
    let world = world("codings");
    let lines: String = (0..50_000).map(|n| format!("{n}\tline {n}\n")).collect();
    let insert = [("query", "INSERT INTO t FORMAT TSV")];
    let mut rows = 0;
    for (coding, tool) in [("gzip", "gzip"), ("zstd", "zstd"), ("lz4", "lz4")] {
        let Some(body) = compressed(tool, lines.as_bytes()) else { continue };
        let half = body[..body.len() / 2].to_vec();
        let send = |body: Vec<u8>| {
            raw(&world, &insert).header("Content-Encoding", coding).body(body).send().unwrap()
        };
        assert_eq!(send(body).status(), 200, "{coding}");
        rows += 50_000;
        assert!(send(half).status().is_server_error(), "{coding}");
        assert_eq!(world.number("SELECT count() FROM t"), rows, "{coding}");
    }
    assert!(rows >= 50_000, "the machine does not have gzip");
    let odd = raw(&world, &insert).header("Content-Encoding", "br").body("x").send().unwrap();
    assert_eq!(odd.status(), 501);
    let sql = "SELECT number, toString(number) FROM numbers(300000)";
    let plain = raw(&world, &[]).body(sql).send().unwrap().bytes().unwrap();
    for (accepts, coding) in [
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("lz4, gzip", "lz4"),
        ("zstd, lz4", "zstd"),
    ] {
        let answer = raw(&world, &[]).header("Accept-Encoding", accepts).body(sql).send().unwrap();
        assert_eq!(answer.headers()["content-encoding"], coding);
        let body = answer.bytes().unwrap();
        assert!(body.len() < plain.len(), "{coding}: {} bytes", body.len());
        // The front reads what it wrote.
        world.query("TRUNCATE TABLE t");
        let back = raw(&world, &insert).header("Content-Encoding", coding).body(body);
        assert_eq!(back.send().unwrap().status(), 200, "{coding}");
        assert_eq!(world.query("SELECT count(), sum(n) FROM t"), "300000\t44999850000", "{coding}");
    }
    let not = [("enable_http_compression", "0")];
    let answer =
        raw(&world, &not).header("Accept-Encoding", "gzip").body("SELECT 1").send().unwrap();
    assert!(!answer.headers().contains_key("content-encoding"));
}

#[test]
fn an_error_has_its_status_while_the_answer_is_held() {
    let world = world("held");
    let late = "SELECT throwIf(number = 200000) FROM numbers(300000)";
    let many = [("buffer_size", "10000000"), ("max_block_size", "1000")];
    assert_eq!(ask(&world, &many, late).header(CODE), Some("395"));
    let whole = [("wait_end_of_query", "1")];
    let answer = ask(&world, &whole, "SELECT number FROM numbers(5)");
    let summary = answer.header("x-clickhouse-summary").unwrap();
    assert!(summary.contains(r#""result_rows":"5""#), "{summary}");
    assert_eq!(answer.header("x-clickhouse-timezone"), Some("UTC"));
    assert!(answer.header("x-clickhouse-server-display-name").is_some());
}

#[test]
fn after_an_engine_crash_requests_get_503_and_the_data_is_kept() {
    let own = OwnStack::of(&[Part::ClickHouse]);
    let world = empty(World::on(harness::Backends::on(&own), "dying"));
    let mut acknowledged = 0;
    for round in 0..3 {
        let insert = [("query", "INSERT INTO t SETTINGS async_insert = 0 FORMAT TSV")];
        acknowledged += u64::from(ask(&world, &insert, "1\ta\n").status == 200);
        let before = engine(&own);
        if round == 0 {
            own.crash_engine().unwrap();
        } else {
            // A query can end it, too, and then has no answer.
            world.send(&world.backends.user, "POST", &[], "SYSTEM SHUTDOWN").ok();
        }
        let began = Instant::now();
        until("another engine runs", || (engine(&own) != before).then_some(()));
        let mut refused = 0;
        let answer = until("the engine is back", || {
            let answer = world.send(&world.backends.user, "POST", &[], "SELECT count() FROM t");
            refused += u32::from(answer.as_ref().is_ok_and(|answer| answer.status == 503));
            answer.ok().filter(|answer| answer.status == 200)
        });
        println!("round {round}: back after {:?}, {refused} answers with 503", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(answer.body, format!("{acknowledged}\n"));
    }
    assert_eq!(acknowledged, 3);
}

#[test]
fn without_the_database_default_the_server_answers_and_creates_it_again() {
    let own = OwnStack::of(&[Part::ClickHouse]);
    let world = empty(World::on(harness::Backends::on(&own), "without_default"));
    // No header names a database.
    let query = |sql: &str| {
        let (user, password) = &world.backends.user;
        let headers = [("X-ClickHouse-User", user.as_str()), ("X-ClickHouse-Key", password)];
        let url = format!("{}/", world.backends.clickhouse);
        let answer = harness::request("POST", &url, &headers, sql).unwrap();
        (answer.status, answer.body)
    };
    let fine = |body: &str| (200, body.to_owned());
    for create in ["CREATE DATABASE IF NOT EXISTS default", "CREATE DATABASE default"] {
        assert_eq!(query("CREATE TABLE default.mine (n UInt8) ENGINE = Memory"), fine(""));
        assert_eq!(query("DROP DATABASE default"), fine(""));
        assert_eq!(query("SELECT 1"), fine("1\n"));
        assert_eq!(world.query("SELECT count() FROM t"), "0", "another database");
        assert_eq!(query(create), fine(""));
        assert_eq!(query("SELECT count() FROM system.tables WHERE name = 'mine'"), fine("0\n"));
    }
    let (status, body) = query("CREATE DATABASE default");
    assert!(status == 500 && body.starts_with("Code: 82."), "{status} {body}");
}

#[test]
fn an_injected_fault_affects_requests_and_is_reset_after_its_timeout() {
    let own = OwnStack::of(&[Part::ClickHouse]);
    let world = empty(World::on(harness::Backends::on(&own), "faults"));
    let insert = [("query", "INSERT INTO t FORMAT TSV")];
    let send = || world.send(&world.backends.user, "POST", &insert, "1\ta\n");
    let wait = Duration::from_secs(10);
    std::thread::scope(|scope| {
        let lost = scope.spawn(|| own.fault(stack::ClickHouseFault::LoseAnswers, 2, wait));
        let broken = until("two answers are lost", || {
            let broken = send().is_err();
            lost.is_finished().then_some(broken)
        });
        assert!(lost.join().unwrap().is_ok(), "{broken}");
    });
    // The inserts without an answer were applied.
    let applied = world.number("SELECT count() FROM t");
    assert!(applied >= 2, "{applied}");
    let (own, slow) = (&own, Duration::from_millis(700));
    std::thread::scope(|scope| {
        let delayed = scope.spawn(move || own.fault(stack::ClickHouseFault::Delay(slow), 1, wait));
        until("a request is delayed", || {
            let began = Instant::now();
            assert_eq!(world.query("SELECT 1"), "1");
            (began.elapsed() >= slow).then_some(())
        });
        delayed.join().unwrap().unwrap();
    });
    let none =
        own.fault(stack::ClickHouseFault::Refuse, 3, Duration::from_millis(300)).unwrap_err();
    assert!(none.to_string().contains("0 of 3"), "{none}");
    assert_eq!(world.query("SELECT 1"), "1");
}

/// The engine's process.
fn engine(stack: &OwnStack) -> Option<i32> {
    let status = stack.status().unwrap();
    status.iter().find(|status| status.part == Part::ClickHouse).unwrap().pid
}
