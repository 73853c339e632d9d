//! The stack's ClickHouse answers as ClickHouse does: its official client, plain HTTP requests, and
//! the read-only user.

use std::time::{Duration, Instant};

use clickhouse::Row;
use harness::{World, get};
use serde::{Deserialize, Serialize};

const ROWS: u64 = 500_000;
const CODE: &str = "x-clickhouse-exception-code";

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Reading {
    id: u64,
    at: i64,
    name: String,
    note: Option<String>,
    hash: [u8; 16],
    fine: bool,
}

impl Reading {
    fn new(id: u64) -> Self {
        Self {
            id,
            at: i64::try_from(id).unwrap() * 1_000_003,
            name: format!("reading \u{fc}{id}\t\n'"),
            note: id.is_multiple_of(3).then(|| "x".repeat(usize::try_from(id % 40).unwrap())),
            hash: (u128::from(id) << 64 | u128::from(!id)).to_le_bytes(),
            fine: id.is_multiple_of(2),
        }
    }
}

/// A database with an empty table `t`.
fn world(name: &str, columns: &str) -> World {
    let world = World::new(name);
    // A header that names the world's database would be refused before that is created.
    let (user, password) = &world.backends.user;
    let headers = [("X-ClickHouse-User", user.as_str()), ("X-ClickHouse-Key", password)];
    let create = format!("CREATE DATABASE {}", world.database);
    let url = format!("{}/", world.backends.clickhouse);
    let made = harness::request("POST", &url, &headers, create).unwrap();
    assert_eq!(made.status, 200, "{made:?}");
    world.query(&format!("CREATE TABLE t ({columns}) ENGINE = MergeTree ORDER BY tuple()"));
    world
}

#[test]
fn the_official_client_inserts_and_reads_back_half_a_million_typed_rows() {
    let columns = "id UInt64, at DateTime64(6, 'UTC'), name String, note Nullable(String), hash FixedString(16), fine Bool";
    let world = world("typed", columns);
    let (user, password) = &world.backends.user;
    let client = clickhouse::Client::default()
        .with_url(&world.backends.clickhouse)
        .with_user(user)
        .with_password(password)
        .with_database(&world.database)
        .with_compression(clickhouse::Compression::Lz4);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut insert = client.insert::<Reading>("t").await.unwrap();
        for id in 0..ROWS {
            insert.write(&Reading::new(id)).await.unwrap();
        }
        insert.end().await.unwrap();
        let mut rows = client.query("SELECT ?fields FROM t WHERE id >= ? ORDER BY id").bind(0).fetch::<Reading>().unwrap();
        let mut seen = 0;
        while let Some(row) = rows.next().await.unwrap() {
            assert_eq!(row, Reading::new(seen));
            seen += 1;
        }
        assert_eq!(seen, ROWS);
        let refused = client.query("SELECT nonsense FROM t").fetch_one::<u64>().await.unwrap_err();
        assert!(matches!(&refused, clickhouse::error::Error::BadResponse(text) if text.contains("Code: 47")), "{refused}");
    });
    let sums = world.query(
        "SELECT count(), sum(id), uniqExact(hash), countIf(note IS NULL), countIf(fine) FROM t",
    );
    let expected = (ROWS, ROWS * (ROWS - 1) / 2, ROWS, ROWS - ROWS.div_ceil(3), ROWS / 2);
    assert_eq!(
        sums,
        format!("{}\t{}\t{}\t{}\t{}", expected.0, expected.1, expected.2, expected.3, expected.4)
    );
}

#[test]
fn plain_http_requests_get_clickhouses_answers() {
    let world = world("http", "n UInt64, s String");
    let user = &world.backends.user;
    let ping = get(&format!("{}/ping", world.backends.clickhouse)).unwrap();
    assert_eq!((ping.status, ping.body.as_str()), (200, "Ok.\n"));
    let ask = |method: &str, parameters: &[(&str, &str)], body: &str| {
        world.send(user, method, parameters, body).unwrap()
    };
    let insert = ask(
        "POST",
        &[("query", "INSERT INTO t FORMAT JSONEachRow")],
        "{\"n\":1,\"s\":\"a\\tb\"}\n{\"n\":2,\"s\":\"ü\"}",
    );
    assert_eq!((insert.status, insert.body.as_str()), (200, ""));
    for (parameters, body, expected) in [
        (vec![("query", "SELECT count() FROM t")], "", "2\n"),
        (vec![], "SELECT s FROM t ORDER BY n", "a\\tb\nü\n"),
        (vec![], "SELECT n, s FROM t ORDER BY n FORMAT CSV", "1,\"a\tb\"\n2,\"ü\"\n"),
        (vec![("default_format", "JSONEachRow")], "SELECT n FROM t WHERE n = 2", "{\"n\":2}\n"),
        (
            vec![
                ("query", "SELECT {x:UInt64} + 1, {s:String}"),
                ("param_x", "41"),
                ("param_s", "a'b"),
            ],
            "",
            "42\ta\\'b\n",
        ),
        (vec![("max_threads", "3")], "SELECT getSetting('max_threads')", "3\n"),
        (
            vec![("database", "system")],
            "SELECT currentDatabase()",
            &format!("{}\n", world.database),
        ),
    ] {
        let methods: &[&str] = if body.is_empty() { &["GET", "POST"] } else { &["POST"] };
        for method in methods {
            let answer = ask(method, &parameters, body);
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (200, expected),
                "{method} {parameters:?} {body}"
            );
        }
    }
    for (sql, status, code) in [
        ("SELECT * FROM absent", 404, "60"),
        ("SELEKT 1", 400, "62"),
        ("SELECT * FROM absent_database.t", 404, "81"),
        ("SELECT absent FROM t", 404, "47"),
        ("SELECT throwIf(number = 900000) FROM numbers(1000000)", 500, "395"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("", 400, "62"),
    ] {
        let answer = ask("POST", &[("wait_end_of_query", "1")], sql);
        assert_eq!((answer.status, answer.header(CODE)), (status, Some(code)), "{sql}: {answer:?}");
        assert!(answer.body.starts_with(&format!("Code: {code}. DB::Exception: ")), "{answer:?}");
    }
    let odd = ask("POST", &[("no_such_setting", "1")], "SELECT 1");
    assert_eq!((odd.status, odd.header(CODE)), (404, Some("115")), "{odd:?}");
}

#[test]
fn a_damaged_block_is_refused_and_inserts_no_row() {
    let world = world("damaged", "n UInt64");
    let lines = |from: u64| (from..from + 100_000).map(|n| format!("{n}\n")).collect::<String>();
    let block = |from| clickhouse::_priv::lz4_compress(lines(from).as_bytes()).unwrap().to_vec();
    let parameters = [("query", "INSERT INTO t FORMAT TSV"), ("decompress", "1")];
    let send = |body: Vec<u8>| world.send(&world.backends.user, "POST", &parameters, body).unwrap();
    assert_eq!(send(block(0)).status, 200, "the healthy case");
    let good = block(100_000);
    let changed = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    for (what, body) in [
        ("its checksum", changed(3)),
        ("its data", changed(good.len() / 2)),
        ("its last byte", changed(good.len() - 1)),
        ("its end missing", good[..good.len() - 5].to_vec()),
        ("the second of two", [block(200_000), changed(40)].concat()),
        ("not compressed", lines(0).into_bytes()),
    ] {
        let answer = send(body);
        assert!(answer.status >= 400 && answer.header(CODE).is_some(), "{what}: {answer:?}");
        assert_eq!(world.number("SELECT count() FROM t"), 100_000, "{what}");
    }
}

#[test]
fn the_read_only_user_can_change_nothing() {
    let world = world("reader", "n UInt64");
    world.query("INSERT INTO t SELECT number FROM numbers(10)");
    let reader = &world.backends.reader;
    let ask = |parameters: &[(&str, &str)], sql: &str| {
        world.send(reader, "POST", parameters, sql).unwrap()
    };
    let healthy = ask(&[("max_threads", "2")], "SELECT count() FROM t");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "10\n"));
    let loot = world.folder().join("loot");
    let file = loot.display();
    let writes = [
        "INSERT INTO t VALUES (1)".to_owned(),
        "INSERT INTO t SELECT 1".to_owned(),
        "insert/**/into t format TSV 1".to_owned(),
        "WITH 1 AS x INSERT INTO t SELECT x".to_owned(),
        format!("INSERT INTO FUNCTION file('{file}', 'TSV', 'n UInt64') VALUES (1)"),
        format!("SELECT * FROM t INTO OUTFILE '{file}'"),
        "CREATE TABLE u (n UInt64) ENGINE = Memory".to_owned(),
        "CREATE DATABASE somebodys".to_owned(),
        "/* SELECT */ DROP TABLE t".to_owned(),
        "-- SELECT\nTRUNCATE TABLE t".to_owned(),
        "ALTER TABLE t DELETE WHERE 1 SETTINGS mutations_sync = 2".to_owned(),
        "ALTER TABLE t ADD COLUMN m UInt64".to_owned(),
        "DELETE FROM t WHERE 1".to_owned(),
        "RENAME TABLE t TO u".to_owned(),
        "OPTIMIZE TABLE t FINAL".to_owned(),
        "DETACH TABLE t".to_owned(),
        "SYSTEM SHUTDOWN".to_owned(),
        "SELECT 1; DROP TABLE t".to_owned(),
        "SET readonly = 0".to_owned(),
        "SELECT 1 SETTINGS readonly = 0".to_owned(),
        "EXPLAIN SYNTAX SELECT 1 INTO OUTFILE '/nowhere'".to_owned(),
    ];
    for sql in &writes {
        let answer = ask(&[], sql);
        assert!(answer.status >= 400 && answer.header(CODE).is_some(), "{sql}: {answer:?}");
    }
    for setting in ["readonly", "allow_ddl"] {
        for value in ["0", "1", "2"] {
            let answer = ask(&[(setting, value)], "DROP TABLE t");
            assert!(answer.status >= 400, "{setting}={value}: {answer:?}");
        }
    }
    // GET never writes, also not for the user that may write.
    let by_get = [("query", "INSERT INTO t SELECT 1")];
    assert!(world.send(&world.backends.user, "GET", &by_get, "").unwrap().status >= 400);
    assert_eq!(world.query("SELECT count(), sum(n) FROM t"), "10\t45");
    assert_eq!(world.query("SHOW TABLES"), "t");
    assert!(!loot.exists(), "a file was written");
}

#[test]
fn a_wrong_password_is_refused() {
    let world = world("password", "n UInt64");
    let (user, password) = &world.backends.user;
    let stranger = |name: &str, password: &str| {
        world.send(&(name.to_owned(), password.to_owned()), "POST", &[], "SELECT 1").unwrap()
    };
    assert_eq!(stranger(user, password).status, 200, "the healthy case");
    for (name, key) in
        [(user.as_str(), "wrong"), (user, ""), ("nobody", password), ("default", ""), ("", "")]
    {
        let answer = stranger(name, key);
        assert_eq!(
            (answer.status, answer.header(CODE)),
            (403, Some("516")),
            "{name:?} {key:?}: {answer:?}"
        );
    }
}

#[test]
fn eight_queries_run_at_once_and_each_gets_its_own_answer() {
    let world = world("at_once", "n UInt64");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for n in 1..=8_u64 {
            let world = &world;
            scope.spawn(move || {
                assert_eq!(world.query("SELECT sleep(1)"), "0");
                let sql = format!(
                    "SELECT {n}, count() FROM numbers(1000000) WHERE number % {n} = 0 FORMAT CSV"
                );
                assert_eq!(world.query(&sql), format!("{n},{}", 1_000_000_u64.div_ceil(n)));
            });
        }
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "eight seconds of sleep took {took:?} side by side");
}
