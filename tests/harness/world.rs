//! One test's own topic, group and database, and the programs that use them.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use schemas::{Encoder, RawClick, SchemaId};
use tempfile::TempDir;
use uuid::Uuid;

use crate::backends::{Backends, program};
use crate::child::{Child, Exit, Summary};
use crate::http_client::{self, Answer};
use crate::kafka::{Kafka, Raw};
use crate::ports::free_port;
use crate::wait::PATIENCE;

/// Partitions of a world's topic.
const PARTITIONS: &str = "3";

/// A part of the stack that no other test uses.
#[derive(Debug)]
pub struct World {
    /// The stack.
    pub backends: Backends,
    /// Its broker.
    pub kafka: Kafka,
    /// The log.
    pub topic: String,
    /// The topic of links.
    pub links_topic: String,
    /// The database.
    pub database: String,
    /// The consumer group.
    pub group: String,
    /// The file of the shards, if ClickHouse is a cluster.
    pub clickhouse_shards: Option<PathBuf>,
    folder: TempDir,
    children: AtomicU32,
}

/// A running `producer serve`.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://…` of the public port.
    pub url: String,
    /// `http://…` of the admin port.
    pub admin: String,
    /// Its file of links, or its snapshot.
    pub links: PathBuf,
}

/// A running `processors run`.
#[derive(Debug)]
pub struct Processors {
    child: Child,
    /// `http://…` of the admin port.
    pub admin: String,
}

impl World {
    /// A world with unique names; creates nothing yet.
    pub fn new(name: &str) -> Self {
        Self::on(Backends::find(), name)
    }

    /// Like [`World::new`], on the test's own stack.
    pub fn on(backends: Backends, name: &str) -> Self {
        let nonce = &Uuid::new_v4().simple().to_string()[..10];
        Self {
            kafka: Kafka { brokers: backends.kafka.clone() },
            topic: format!("t.{}.{nonce}.v1", name.replace('_', "-")),
            links_topic: format!("l.{}.{nonce}.v1", name.replace('_', "-")),
            database: format!("t_{name}_{nonce}"),
            group: format!("t-{}-{nonce}", name.replace('_', "-")),
            clickhouse_shards: None,
            folder: tempfile::tempdir().expect("a folder can be made"),
            children: AtomicU32::new(0),
            backends,
        }
    }

    /// A folder that the drop of the world removes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of outboxes: `serve` and `import` each have their own in it.
    pub fn outbox(&self) -> PathBuf {
        self.folder().join("outbox")
    }

    /// Keeps the folder and its logs after the drop, for the analysis of a failure.
    pub fn keep_folder(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// The name of the dead-letter topic.
    pub fn dead_letters(&self) -> String {
        format!("{}.dlq", self.topic)
    }

    /// One of our programs with the environment of this world only.
    pub fn command(&self, name: &str, set: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program(name));
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("CLICKTRAIL_") || text.starts_with("OTEL_") {
                command.env_remove(&variable);
            }
        }
        command
            .env("KAFKA_BROKERS", &self.backends.kafka)
            .env("SCHEMA_REGISTRY_URL", &self.backends.registry)
            .env("CLICKHOUSE_URL", &self.backends.clickhouse)
            .env("CLICKHOUSE_USER", &self.backends.user.0)
            .env("CLICKHOUSE_PASSWORD", &self.backends.user.1)
            .env("CLICKHOUSE_DATABASE", &self.database)
            .env("CLICKTRAIL_TOPIC", &self.topic)
            .env("CLICKTRAIL_OUTBOX", self.outbox())
            .env("CLICKTRAIL_LINKS_TOPIC", &self.links_topic)
            .env("CLICKTRAIL_LINKS_DB", "none")
            .env("CLICKTRAIL_LINKS_SNAPSHOT", self.folder().join("links.snapshot"))
            .envs(self.clickhouse_shards.iter().map(|file| ("CLICKHOUSE_SHARDS", file)))
            .envs(set.iter().copied());
        command
    }

    /// Starts such a command.
    pub fn start(&self, command: Command) -> Child {
        let number = self.children.fetch_add(1, Ordering::Relaxed);
        Child::start(command, self.folder().join(format!("child-{number}")))
    }

    /// Starts `processors setup`.
    pub fn start_setup(&self) -> Child {
        let mut command = self.command("processors", &[]);
        command.args(["setup", "--partitions", PARTITIONS]);
        self.start(command)
    }

    /// Runs `processors setup`, which must succeed.
    pub fn setup(&self) -> Exit {
        self.start_setup().end().expect_code(0)
    }

    /// Runs `producer import` of `file`, which must succeed.
    pub fn import(&self, file: &Path, args: &[&str]) -> (Summary, Exit) {
        let mut command = self.command("producer", &[]);
        command.args(["import", "--format", "combined"]).args(args).arg(file);
        let exit = self.start(command).end().expect_code(0);
        (exit.summary("import"), exit)
    }

    /// Starts `producer serve` with `links` (JSON lines) and waits until it answers.
    pub fn serve(&self, links: &str, set: &[(&str, &str)]) -> Server {
        let (public, admin) = (free_port(), free_port());
        let file = self.folder().join(format!("links-{}.jsonl", public.port()));
        std::fs::write(&file, links).expect("a file can be written");
        let mut command = self.command("producer", set);
        command.args(["serve", "--node", "test-node", "--links"]).arg(&file);
        command.args(["--listen", &public.to_string(), "--admin-listen", &admin.to_string()]);
        let mut server =
            Server { child: self.start(command), url: url(public), admin: url(admin), links: file };
        server.until_ready();
        server
    }

    /// Starts `producer serve` as a host that follows the topic of links. Does not wait.
    pub fn start_host(&self, host: &str, set: &[(&str, &str)]) -> Server {
        let (public, admin) = (free_port(), free_port());
        let links = self.folder().join(format!("{host}.snapshot"));
        let mut command = self.command("producer", set);
        command.env("CLICKTRAIL_OUTBOX", self.folder().join(format!("{host}-outbox")));
        command.env("CLICKTRAIL_LINKS_SNAPSHOT", &links);
        command.args(["serve", "--node", host, "--listen", &public.to_string()]);
        command.args(["--admin-listen", &admin.to_string()]);
        Server { child: self.start(command), url: url(public), admin: url(admin), links }
    }

    /// Like [`World::start_host`], and waits until the host is ready.
    pub fn host(&self, host: &str, set: &[(&str, &str)]) -> Server {
        let mut server = self.start_host(host, set);
        server.until_ready();
        server
    }

    /// Runs `producer links` on a store to its end.
    pub fn links(&self, store: &str, args: &[&str]) -> Exit {
        let mut command = self.command("producer", &[("CLICKTRAIL_LINKS_DB", store)]);
        command.arg("links").args(args);
        self.start(command).end()
    }

    /// Starts `processors run` and waits until it is ready. `args` come after `run`.
    pub fn processors(&self, args: &[&str], set: &[(&str, &str)]) -> Processors {
        self.processors_of(&self.group, args, set)
    }

    /// Like [`World::processors`], with another group.
    pub fn processors_of(&self, group: &str, args: &[&str], set: &[(&str, &str)]) -> Processors {
        let mut processors = self.start_processors(group, args, set);
        processors.until_ready();
        processors
    }

    /// Like [`World::processors_of`], without the wait.
    pub fn start_processors(&self, group: &str, args: &[&str], set: &[(&str, &str)]) -> Processors {
        let admin = free_port();
        let mut command = self.command("processors", set);
        command.args(["run", "--group", group, "--admin-listen", &admin.to_string()]);
        // The group removes a killed member after seconds instead of most of a minute. With the
        // `consumer` protocol the broker has this setting.
        if !set.iter().any(|(name, _)| *name == "CLICKTRAIL_GROUP_PROTOCOL") {
            command.args(["--kafka", "session.timeout.ms=6000"]);
            command.args(["--kafka", "heartbeat.interval.ms=1000"]);
        }
        command.args(args);
        Processors { child: self.start(command), admin: url(admin) }
    }

    /// Starts `processors dlq`.
    pub fn dlq(&self, args: &[&str]) -> Child {
        let mut command = self.command("processors", &[("CLICKTRAIL_ACTOR", "a test")]);
        command.arg("dlq").args(args);
        self.start(command)
    }

    /// Runs `processors dlq` to its end, which must succeed; returns its output.
    pub fn dlq_output(&self, args: &[&str]) -> String {
        self.dlq(args).end().expect_code(0).out
    }

    /// ClickHouse, for code of the product.
    pub fn clickhouse(&self) -> processors::clickhouse::server::Server {
        processors::clickhouse::server::Server {
            url: self.backends.clickhouse.clone(),
            user: self.backends.user.0.clone(),
            password: self.backends.user.1.clone(),
            database: self.database.clone(),
        }
    }

    /// Runs `processors audit`: its report and its exit code.
    pub fn audit(&self) -> (serde_json::Value, i32) {
        self.audit_within(PATIENCE)
    }

    /// Like [`World::audit`], for a log that takes longer to read.
    pub fn audit_within(&self, patience: Duration) -> (serde_json::Value, i32) {
        let mut command = self.command("processors", &[]);
        command.args(["audit", "--json", "--wait-seconds", "5"]);
        let exit = self.start(command).end_within(patience);
        let report = serde_json::from_str(&exit.out);
        (report.unwrap_or_else(|error| panic!("{error}: {exit:?}")), exit.code.unwrap_or(-1))
    }

    /// Runs the audit, which must find no difference.
    ///
    /// # Panics
    /// With the report of the differences.
    pub fn balanced(&self) -> serde_json::Value {
        let (report, code) = self.audit();
        assert_eq!(code, 0, "{report:#}");
        report
    }

    /// Sends ClickHouse a request of its protocol, as `user`.
    ///
    /// # Errors
    /// The client's error without a response.
    pub fn send(
        &self,
        user: &(String, String),
        method: &str,
        parameters: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, String> {
        let base = format!("{}/", self.backends.clickhouse);
        let url = reqwest::Url::parse_with_params(&base, parameters).expect("a URL");
        let headers = [
            ("X-ClickHouse-User", user.0.as_str()),
            ("X-ClickHouse-Key", &user.1),
            ("X-ClickHouse-Database", &self.database),
        ];
        http_client::request(method, url.as_str(), &headers, body)
    }

    /// Queries ClickHouse; returns tab-separated text.
    ///
    /// # Errors
    /// The server's error.
    pub fn ask(&self, sql: &str, settings: &[(&str, &str)]) -> Result<String, String> {
        let answer = self.send(&self.backends.user, "POST", settings, sql)?;
        if answer.status == 200 { Ok(answer.body.trim_end().to_owned()) } else { Err(answer.body) }
    }

    /// Like [`World::ask`], for a query that must succeed.
    pub fn query(&self, sql: &str) -> String {
        self.ask(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The single number that a query returns.
    pub fn number(&self, sql: &str) -> u64 {
        let text = self.query(sql);
        text.parse().unwrap_or_else(|_| panic!("{sql}: {text}"))
    }

    /// Clicks that a reader sees.
    pub fn clicks(&self) -> u64 {
        self.number("SELECT count() FROM clicks")
    }

    /// Whether the group has committed every position up to the log's end.
    pub fn caught_up(&self) -> bool {
        self.is_read_by(&self.group, &self.topic)
    }

    /// The group that copies the dead-letter topic.
    pub fn letter_group(&self) -> String {
        format!("{}-dead-letters", self.group)
    }

    /// Whether the dead-letter topic is copied into the table up to its end.
    pub fn letters_copied(&self) -> bool {
        self.is_read_by(&self.letter_group(), &self.dead_letters())
    }

    fn is_read_by(&self, group: &str, topic: &str) -> bool {
        let committed = self.kafka.committed(group, topic);
        let bounds = self.kafka.bounds(topic);
        bounds.iter().all(|(p, (_, high))| committed.get(p).copied().unwrap_or(0) == *high)
    }

    /// Moves the group's positions with Kafka's own tool, as an operator does. `of` is a topic, or
    /// `topic:partition`; `how` is the tool's option for the target, such as `--to-earliest`.
    pub fn kafka_reset(&self, of: &str, how: &[&str]) {
        let mut command = Command::new("java");
        command.arg("-XX:TieredStopAtLevel=1").arg("-cp").arg(self.backends.kafka_libs.join("*"));
        command.arg("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        command.args(["--bootstrap-server", &self.backends.kafka, "--group", &self.group]);
        command.args(["--topic", of, "--reset-offsets", "--execute"]).args(how);
        let exit = self.start(command).end().expect_code(0);
        assert!(exit.out.contains(&self.topic), "{exit:?}");
    }

    /// The registry's id of the newest schema.
    pub fn schema_id(&self) -> SchemaId {
        let url = format!("{}/subjects/{}-value", self.backends.registry, self.topic);
        let body =
            serde_json::json!({ "schema": schemas::NEWEST, "schemaType": "AVRO" }).to_string();
        let headers = [("Content-Type", "application/vnd.schemaregistry.v1+json")];
        let answer =
            http_client::request("POST", &url, &headers, body).expect("the registry answers");
        let value: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        SchemaId(value["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id"))
    }

    /// `count` valid records for `partition`, with the current time.
    pub fn good(&self, partition: i32, count: usize) -> Vec<Raw> {
        let encoder = Encoder::new(self.schema_id());
        let record = |_| {
            let mut value = Vec::new();
            let click =
                RawClick::new(Uuid::now_v7(), jiff::Timestamp::now().as_microsecond(), "good");
            encoder.encode(&click, &mut value).expect("a good click");
            Raw { partition, value: Some(value), ..Raw::default() }
        };
        (0..count).map(record).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Ignores failures. The registry's subject stays: all worlds share its schema.
        self.ask(&format!("DROP DATABASE IF EXISTS {}", self.database), &[]).ok();
        // Without a broker, each deletion would wait until its timeout.
        let broker = self.kafka.brokers.split(',').next().unwrap_or_default();
        if std::net::TcpStream::connect(broker).is_err() {
            return;
        }
        for topic in [&self.topic, &self.dead_letters(), &self.links_topic] {
            self.kafka.delete_topic(topic).ok();
        }
    }
}

impl Processors {
    /// Waits until they have joined their group.
    pub fn until_ready(&mut self) {
        let ready = format!("{}/readyz", self.admin);
        self.child.until("the processors are ready", || {
            http_client::get(&ready).ok().filter(|answer| answer.status == 200)
        });
    }

    /// Waits until the group has committed the log's end.
    pub fn until_caught_up(&mut self, world: &World) {
        self.child.until("the log's end is committed", || world.caught_up().then_some(()));
    }

    /// Waits until the dead-letter topic is copied into the table up to its end.
    pub fn until_letters_copied(&mut self, world: &World) {
        self.child.until("the dead letters are copied", || world.letters_copied().then_some(()));
    }
}

impl Server {
    /// Waits until it reports that it is ready.
    pub fn until_ready(&mut self) {
        let ready = format!("{}/readyz", self.admin);
        self.child.until("the producer is ready", || {
            http_client::get(&ready).ok().filter(|a| a.status == 200)
        });
    }

    /// GET of a path on the public port.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("{}{path}", self.url);
        http_client::request("GET", &url, headers, "")
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

impl Deref for Processors {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Processors {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Deref for Server {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
