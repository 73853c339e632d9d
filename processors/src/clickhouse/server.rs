//! The only room that talks to ClickHouse.
//!
//! An `Ok` of [`Table::insert`] means that the rows are durable: the settings that
//! could weaken it are pinned on every insert. It decides no retries.

use broker::ServerError;
use std::sync::LazyLock;
use std::time::Duration;

use clickhouse::error::Error;
use clickhouse::{Client, Compression};

use crate::clickhouse::breaker_overrides::{Pass, passes};
use crate::encode::encoded_rows::EncodedRows;

use crate::clickhouse::{error_codes, query_id};
use crate::encode::columns;
use crate::flow::span::Spans;
use crate::run::pipeline::Tables;

/// Where the tables are and who asks.
#[derive(Clone)]
pub struct Server {
    /// Base URL of the HTTP interface.
    pub url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database of our tables.
    pub database: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}/{}", self.user, self.url, self.database)
    }
}

impl Server {
    /// A client that names no database.
    pub(crate) fn bare(&self) -> Client {
        Client::default()
            .with_url(&self.url)
            .with_user(&self.user)
            .with_password(&self.password)
            .with_product_info("clicktrail-processors", env!("CARGO_PKG_VERSION"))
    }

    /// A client of our database.
    pub fn client(&self) -> Client {
        self.bare().with_database(&self.database)
    }
}

/// Written with every insert. An acknowledged insert was really applied, whole, to the table
/// and to whatever hangs on it (invariant 3).
pub const PINNED: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("insert_deduplicate", "0"),
    ("materialized_views_ignore_errors", "0"),
    ("max_partitions_per_insert_block", "0"),
];

/// An HTTP parameter rather than a setting: no acknowledgement before the insert has ended.
const WAIT: (&str, &str) = ("wait_end_of_query", "1");

/// Overrides `insert_deduplicate` on the servers that know it.
const PINNED_WHERE_KNOWN: (&str, &str) = ("deduplicate_insert", "disable");

/// Time for a piece of an insert to leave, and for its acknowledgement to come. Both together
/// stay far below `max.poll.interval.ms`.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// See [`SEND_TIMEOUT`].
pub const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(120);

/// The table of click versions.
pub struct Table {
    client: Client,
    server: Server,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("click_versions")
    }
}

impl Table {
    /// Asks the server which of the pinned settings it knows.
    ///
    /// # Errors
    /// The server's refusal; retryable while it is away.
    pub async fn open(server: &Server) -> Result<Self, ServerError> {
        // What is sent is packed already.
        let mut client = server.client().with_compression(Compression::None);
        for (name, value) in PINNED.iter().chain([&WAIT]) {
            client = client.with_setting(*name, *value);
        }
        let (name, value) = PINNED_WHERE_KNOWN;
        // Without the database, which may not be there yet.
        let known: u64 = server
            .bare()
            .query("SELECT count() FROM system.settings WHERE name = ?")
            .bind(name)
            .fetch_one()
            .await
            .map_err(server_error)?;
        if known == 1 {
            client = client.with_setting(name, value);
        }
        Ok(Self { client, server: server.clone() })
    }

    /// The pinned settings as the server holds them for a query of ours.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn settings(&self) -> Result<Vec<(String, String)>, ServerError> {
        let names: Vec<&str> = PINNED.iter().map(|(name, _)| *name).collect();
        let query = self.client.query("SELECT name, value FROM system.settings WHERE name IN ?");
        query.bind(names).fetch_all().await.map_err(server_error)
    }
}

impl Tables for Table {
    /// Inserts rows as one statement. `Ok` means durable.
    ///
    /// # Errors
    /// After an error the rows may or may not be there: insert them again, which changes no
    /// count that a reader sees.
    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let Insert { topic, spans, rows, traceparent } = *insert;
        let stream = EncodedRows::stream(rows.iter());
        let stream = stream.map_err(|error| ServerError::fatal("clickhouse_client", error))?;
        let attempt = uuid::Uuid::new_v4().simple().to_string();
        let mut client = self.client.clone();
        if let Some(value) = traceparent {
            client = client.with_header("traceparent", value);
        }
        let mut request = client
            .insert_formatted_with(INSERT.as_str())
            .with_setting("decompress", "1")
            .with_setting("query_id", query_id::query_id(topic, spans, &attempt))
            .with_setting("log_comment", query_id::log_comment(topic, spans))
            .with_timeouts(Some(SEND_TIMEOUT), Some(ACKNOWLEDGE_TIMEOUT));
        for piece in stream {
            request.send(piece).await.map_err(server_error)?;
        }
        request.end().await.map_err(server_error)
    }

    async fn passes(&self, topic: &str) -> Result<Vec<Pass>, ServerError> {
        passes(&self.server, topic).await
    }
}

/// One statement: rows, and where they stood in the log.
#[derive(Debug, Clone, Copy)]
pub struct Insert<'a> {
    /// The log.
    pub topic: &'a str,
    /// Offsets of the batch that the rows are of.
    pub spans: &'a Spans,
    /// The rows, block by block.
    pub rows: &'a [EncodedRows],
    /// The trace that the server is to join.
    pub traceparent: Option<&'a str>,
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!("INSERT INTO click_versions ({}) FORMAT ArrowStream", columns::COLUMNS.join(", "))
});

/// The one place where the client's errors become ours.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
pub fn server_error(error: Error) -> ServerError {
    match error {
        Error::BadResponse(text) => error_codes::classify(&text),
        Error::Network(_) | Error::TimedOut => {
            ServerError::retryable("clickhouse_unreachable", causes(&error))
        }
        Error::SchemaMismatch(text) => ServerError::fatal(
            "clickhouse_schema",
            format!("the table is not as this program expects it: run `processors setup` ({text})"),
        ),
        other => ServerError::fatal("clickhouse_client", causes(&other)),
    }
}

/// An error with what is under it, which `Display` of network errors leaves out.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
