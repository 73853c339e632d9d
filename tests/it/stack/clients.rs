//! Clients of other projects against the ClickHouse of the stack: a table of the features that work.
//! `docs/clients.md` has the same table.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use clickhouse::Row;
use clickhouse::sql::Identifier;
use harness::{World, root};
use serde::{Deserialize, Serialize};

const ROWS: u64 = 100_000;
/// Examples in the manner of ClickHouse's documentation of its HTTP interface, with their answers.
/// `c` is curl with the user and the database; `$URL` is the server.
const CURL: &str = include_str!("curl.txt");
const PREPARE: &str = r#"set -eu; c() { curl -sS -m 20 -H "X-ClickHouse-User: $WHO" -H "X-ClickHouse-Key: $KEY" -H "X-ClickHouse-Database: $DATABASE" "$@"; }; "#;

/// What was checked: client, feature, and the failure, if there was one.
#[derive(Default)]
struct Table(Vec<(&'static str, String, Option<String>)>);

impl Table {
    fn check(&mut self, client: &'static str, feature: &str, check: impl FnOnce()) {
        let wrong = catch_unwind(AssertUnwindSafe(check)).err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default()
        });
        self.0.push((client, feature.to_owned(), wrong));
    }

    /// Prints all rows and asserts that none failed.
    fn close(self) {
        let mut failed = Vec::new();
        for (client, feature, wrong) in &self.0 {
            println!("{client:<20} {feature:<40} {}", wrong.as_ref().map_or("yes", |_| "NO"));
            failed.extend(wrong.as_ref().map(|wrong| format!("{client}, {feature}: {wrong}")));
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Pair {
    n: u64,
    s: String,
}

/// A database with `t`, `t2` and `kinds`.
fn world(name: &str) -> World {
    let mut world = World::new(name);
    let database = std::mem::replace(&mut world.database, "default".to_owned());
    world.query(&format!("CREATE DATABASE {database}"));
    world.database = database;
    for table in ["t", "t2"] {
        world.query(&format!(
            "CREATE TABLE {table} (n UInt64, s String) ENGINE = MergeTree ORDER BY n"
        ));
    }
    world.query(&format!("INSERT INTO t SELECT number, concat('s', number) FROM numbers({ROWS})"));
    world.query(
        "CREATE TABLE kinds (c0 UInt64, c1 Int8, c2 Float64, c3 String, c4 Nullable(Int32), \
         c5 Array(String), c6 Map(String, UInt8), c7 Tuple(UInt8, String), c8 Date, \
         c9 DateTime64(3, 'UTC'), c10 UUID, c11 Decimal(9, 2), c12 Bool, \
         c13 LowCardinality(String)) ENGINE = MergeTree ORDER BY c0",
    );
    world
}

fn client(world: &World, compression: clickhouse::Compression) -> clickhouse::Client {
    let (user, password) = &world.backends.user;
    clickhouse::Client::default()
        .with_url(&world.backends.clickhouse)
        .with_user(user)
        .with_password(password)
        .with_database(&world.database)
        .with_compression(compression)
}

#[test]
fn every_checked_feature_of_the_official_rust_client_works() {
    let world = world("rust_client");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut table = Table::default();
    for (name, compression) in [
        ("clickhouse", clickhouse::Compression::None),
        ("clickhouse, lz4", clickhouse::Compression::Lz4),
    ] {
        let client = client(&world, compression);
        let client = &client;
        table.check(name, "fetch", || run(&runtime, fetch(client)));
        table.check(name, "cursor", || run(&runtime, cursor(client)));
        table.check(name, "cursor dropped before its end", || run(&runtime, dropped(client)));
        table.check(name, "insert", || run(&runtime, insert(client)));
        table.check(name, "insert abandoned", || run(&runtime, abandoned(client)));
        table.check(name, "formatted insert, bytes", || run(&runtime, formatted(client)));
        table.check(name, "parameters", || run(&runtime, parameters(client)));
        table.check(name, "settings", || run(&runtime, settings(client)));
        table.check(name, "session", || run(&runtime, session(client)));
        table.check(name, "errors", || run(&runtime, errors(client)));
        table.check(name, "error after the answer has begun", || run(&runtime, broken(client)));
    }
    table.close();
}

fn run(runtime: &tokio::runtime::Runtime, check: impl Future<Output = ()>) {
    let timed = async { tokio::time::timeout(harness::PATIENCE, check).await };
    runtime.block_on(timed).expect("a feature takes less than a minute");
}

async fn fetch(client: &clickhouse::Client) {
    let one: Pair =
        client.query("SELECT ?fields FROM t WHERE n = ?").bind(7).fetch_one().await.unwrap();
    assert_eq!(one, Pair { n: 7, s: "s7".to_owned() });
    let all: Vec<u64> = client.query("SELECT n FROM t ORDER BY n").fetch_all().await.unwrap();
    assert_eq!(all.len(), usize::try_from(ROWS).unwrap());
    let none: Option<u64> =
        client.query("SELECT n FROM t WHERE n > ?").bind(ROWS).fetch_optional().await.unwrap();
    assert_eq!(none, None);
}

async fn cursor(client: &clickhouse::Client) {
    let mut rows = client.query("SELECT ?fields FROM t ORDER BY n").fetch::<Pair>().unwrap();
    let mut seen = 0;
    while let Some(row) = rows.next().await.unwrap() {
        assert_eq!(row.n, seen);
        seen += 1;
    }
    assert_eq!(seen, ROWS);
}

async fn dropped(client: &clickhouse::Client) {
    for _ in 0..5 {
        let mut rows =
            client.query("SELECT number FROM numbers(100000000)").fetch::<u64>().unwrap();
        assert_eq!(rows.next().await.unwrap(), Some(0));
    }
    let one: u8 = client.query("SELECT 1").fetch_one().await.unwrap();
    assert_eq!(one, 1);
}

async fn insert(client: &clickhouse::Client) {
    client.query("TRUNCATE TABLE t2").execute().await.unwrap();
    let mut insert = client.insert::<Pair>("t2").await.unwrap();
    for n in 0..1000 {
        insert.write(&Pair { n, s: "\u{fc}\t\n".to_owned() }).await.unwrap();
    }
    insert.end().await.unwrap();
    assert_eq!(count(client).await, 1000);
}

async fn abandoned(client: &clickhouse::Client) {
    client.query("TRUNCATE TABLE t2").execute().await.unwrap();
    let mut insert = client.insert::<Pair>("t2").await.unwrap();
    insert.write(&Pair { n: 1, s: String::new() }).await.unwrap();
    drop(insert);
    assert_eq!(count(client).await, 0);
}

async fn formatted(client: &clickhouse::Client) {
    client.query("TRUNCATE TABLE t2").execute().await.unwrap();
    let mut insert = client.insert_formatted_with("INSERT INTO t2 FORMAT CSV").buffered();
    insert.write_buffered(b"1,a\n2,b\n");
    insert.end().await.unwrap();
    let mut bytes = client.query("SELECT n, s FROM t2 ORDER BY n").fetch_bytes("CSV").unwrap();
    assert_eq!(bytes.collect().await.unwrap(), "1,\"a\"\n2,\"b\"\n");
}

async fn parameters(client: &clickhouse::Client) {
    let query = client.query("SELECT {n:UInt64} + 1, {s:String}, count() FROM {t:Identifier}");
    let query = query.param("n", 41).param("s", "a'b\\\t").param("t", "t");
    let row: (u64, String, u64) = query.fetch_one().await.unwrap();
    assert_eq!(row, (42, "a'b\\\t".to_owned(), ROWS));
    let bound: u64 =
        client.query("SELECT count() FROM ?").bind(Identifier("t")).fetch_one().await.unwrap();
    assert_eq!(bound, ROWS);
}

async fn settings(client: &clickhouse::Client) {
    let query = client.query("SELECT toUInt64(getSetting('max_block_size'))");
    let size: u64 = query.with_setting("max_block_size", "777").fetch_one().await.unwrap();
    assert_eq!(size, 777);
}

async fn session(client: &clickhouse::Client) {
    let client = client.clone().with_setting("session_id", uuid::Uuid::new_v4().to_string());
    client.query("CREATE TEMPORARY TABLE own (n UInt64)").execute().await.unwrap();
    client.query("INSERT INTO own VALUES (7)").execute().await.unwrap();
    assert_eq!(client.query("SELECT n FROM own").fetch_one::<u64>().await.unwrap(), 7);
}

async fn errors(client: &clickhouse::Client) {
    for (sql, code) in [("SELECT absent FROM t", "Code: 47"), ("SELECT n FROM absent", "Code: 60")]
    {
        let error = client.query(sql).fetch_all::<u64>().await.unwrap_err().to_string();
        assert!(error.contains(code), "{error}");
    }
    let mut insert = client.insert_formatted_with("INSERT INTO t2 FORMAT JSONEachRow").buffered();
    insert.write_buffered(b"nonsense");
    assert!(insert.end().await.is_err());
}

async fn broken(client: &clickhouse::Client) {
    let sql = "SELECT throwIf(number = 3000000) FROM numbers(4000000)";
    let error = client.query(sql).fetch_all::<u8>().await.unwrap_err().to_string();
    assert!(error.contains("Code: 395") || error.contains("FUNCTION_THROW_IF"), "{error}");
}

async fn count(client: &clickhouse::Client) -> u64 {
    client.query("SELECT count() FROM t2").fetch_one().await.unwrap()
}

#[test]
fn every_checked_feature_of_the_official_python_client_works() {
    let world = world("python_client");
    let venv = root().join(".stack/venv/bin/python");
    let python = std::env::var_os("CLICKTRAIL_OUTSIDER_PYTHON").map_or(venv, Into::into);
    assert!(python.exists(), "{} is missing: `make venv` creates it", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/outsider/connect.py"));
    command.env("CLICKHOUSE_URL", &world.backends.clickhouse);
    command.env("CLICKHOUSE_USER", &world.backends.user.0);
    command.env("CLICKHOUSE_PASSWORD", &world.backends.user.1);
    command.env("CLICKHOUSE_DATABASE", &world.database);
    let exit = world.start(command).end().expect_code(0);
    let mut table = Table::default();
    for line in exit.out.lines() {
        let (feature, outcome) = line.split_once('\t').unwrap();
        table.check("clickhouse-connect", feature, || assert_eq!(outcome, "ok"));
    }
    assert!(table.0.len() >= 20, "{exit:?}");
    table.close();
}

#[test]
fn the_curl_examples_give_the_documented_answers() {
    let world = world("curl");
    let mut table = Table::default();
    let mut cases = 0;
    for case in CURL.split("\n\n").filter(|case| !case.starts_with('#')) {
        let (name, rest) = case.trim().split_once('\n').unwrap();
        let (command, expected) = rest.split_once("\n>").unwrap_or((rest, ""));
        let expected = expected.replace("\n>", "\n");
        cases += 1;
        table.check("curl", name, || {
            let ran = Command::new("bash")
                .current_dir(world.folder())
                .args(["-c", &format!("{PREPARE}{command}")])
                .env("URL", &world.backends.clickhouse)
                .env("WHO", &world.backends.user.0)
                .env("KEY", &world.backends.user.1)
                .env("DATABASE", &world.database)
                .output()
                .unwrap();
            let out = String::from_utf8_lossy(&ran.stdout);
            assert_eq!(out.trim_end(), expected, "{}", String::from_utf8_lossy(&ran.stderr));
        });
    }
    assert!(cases >= 20, "{cases} cases are left");
    table.close();
}

/// Grafana's plugin reads over HTTP with clickhouse-go: `Native`, in compressed blocks, as the
/// read-only user.
#[test]
fn grafanas_queries_are_answered_in_native_of_its_revision() {
    let world = world("grafana");
    let mut table = Table::default();
    let database = &world.database;
    let asks = [
        ("greeting", "SELECT displayName(), version(), revision(), timezone()".to_owned(), 1),
        ("ping", "SELECT 1".to_owned(), 1),
        ("databases", "SELECT name FROM system.databases".to_owned(), 2),
        ("tables", "SELECT database, name FROM system.tables ORDER BY database, name".to_owned(), 3),
        ("columns", format!("SELECT database, table, name, type, comment FROM system.columns WHERE (database, table) IN (('{database}', 't')) ORDER BY database, table, position"), 2),
        ("describe", format!("DESCRIBE TABLE \"{database}\".\"t\""), 2),
        ("values of a column", "SELECT DISTINCT s FROM t SETTINGS max_execution_time=10".to_owned(), 100_000),
        ("a panel", "SELECT toStartOfInterval(toDateTime(n), INTERVAL 3600 second) AS time, count() FROM t WHERE toDateTime(n) >= toDateTime(0) AND toDateTime(n) <= toDateTime(90000) GROUP BY time ORDER BY time LIMIT 1000".to_owned(), 26),
    ];
    for (name, sql, rows) in asks {
        for compress in ["0", "1"] {
            let feature = format!("{name}{}", if compress == "1" { ", compressed" } else { "" });
            table.check("Grafana", &feature, || drop(native(&world, &sql, compress, rows)));
        }
    }
    table.check("Grafana", "a time with its zone", || {
        let body = native(&world, "SELECT toDateTime(0, 'Asia/Tokyo') AS time", "0", 1);
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains("DateTime('Asia/Tokyo')"), "{body:?}");
    });
    table.check("Grafana", "an error", || {
        let answer = world
            .send(
                &world.backends.reader,
                "POST",
                &[("default_format", "Native")],
                "SELECT * FROM absent",
            )
            .unwrap();
        assert!(answer.status == 404 && answer.body.starts_with("Code: 60."), "{answer:?}");
    });
    table.close();
}

/// Sends a query as the plugin does, and also waits for its end, so that the rows are counted.
fn native(world: &World, sql: &str, compress: &str, rows: usize) -> Vec<u8> {
    let parameters = [
        ("default_format", "Native"),
        ("client_protocol_version", "54483"),
        ("compress", compress),
        ("wait_end_of_query", "1"),
        ("max_execution_time", "60"),
        ("log_comment", "{\"source\":\"grafana\"}"),
        ("query_id", &uuid::Uuid::new_v4().to_string()),
    ];
    let url = reqwest::Url::parse_with_params(&world.backends.clickhouse, parameters).unwrap();
    let (user, password) = &world.backends.reader;
    let answer = reqwest::blocking::Client::new()
        .post(url)
        .header("X-ClickHouse-User", user)
        .header("X-ClickHouse-Key", password)
        .header("X-ClickHouse-Database", &world.database)
        .body(sql.to_owned())
        .send()
        .unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-clickhouse-format"), "Native");
    let summary: serde_json::Value = serde_json::from_str(&header("x-clickhouse-summary")).unwrap();
    let seen: usize = summary["result_rows"].as_str().unwrap().parse().unwrap();
    assert!(seen >= rows, "{summary}");
    let body = answer.bytes().unwrap();
    // The header of a plain block; LZ4's method byte after the checksum of a compressed one.
    let begins = if compress == "1" { &body[16..17] } else { &body[..8] };
    let expected: &[u8] = if compress == "1" { &[0x82] } else { &[1, 0, 2, 255, 255, 255, 255, 0] };
    assert_eq!(begins, expected);
    body.to_vec()
}
