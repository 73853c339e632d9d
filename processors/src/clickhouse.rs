//! The only room that talks to ClickHouse.
//!
//! An `Ok` of [`Table::insert`] means that the rows are durable: the settings that
//! could weaken it are pinned on every insert. It decides no retries.

mod arrow;
mod codes;
mod events;
mod facts;
mod migrations;
mod passes;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;
use clickhouse::error::Error;

pub use events::{rows_of, shown};
pub use facts::facts;
pub use migrations::{Migration, migrate, missing};
pub use passes::{Pass, give, passes};

use crate::error::ServerError;
use crate::row::ClickRow;

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
    fn bare(&self) -> Client {
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
        let mut client = server.client();
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
        Ok(Self { client })
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

    /// Inserts `rows` as one statement. `Ok` means durable.
    ///
    /// # Errors
    /// After an error the rows may or may not be there: insert them again, which changes no
    /// count that a reader sees.
    pub async fn insert(&self, rows: &Rows, traceparent: Option<&str>) -> Result<(), ServerError> {
        let client = match traceparent {
            Some(value) => self.client.clone().with_header("traceparent", value),
            None => self.client.clone(),
        };
        let mut insert = client
            .insert_formatted_with(INSERT.as_str())
            .with_timeouts(Some(SEND_TIMEOUT), Some(ACKNOWLEDGE_TIMEOUT));
        for start in (0..rows.0.len()).step_by(PIECE) {
            let piece = rows.0.slice(start..rows.0.len().min(start + PIECE));
            insert.send(piece).await.map_err(server_error)?;
        }
        insert.end().await.map_err(server_error)
    }
}

/// Rows as they are sent, and sent again.
#[derive(Debug, Clone)]
pub struct Rows(Bytes);

impl Rows {
    /// Encodes rows.
    ///
    /// # Errors
    /// A batch beyond its limits.
    pub fn new(rows: &[ClickRow<'_>]) -> Result<Self, ServerError> {
        let bytes = arrow::encode(rows);
        let bytes = bytes.map_err(|error| ServerError::fatal("clickhouse_client", error))?;
        Ok(Self(Bytes::from(bytes)))
    }
}

/// Bytes that are compressed and sent together.
const PIECE: usize = 1 << 20;

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!("INSERT INTO click_versions ({}) FORMAT ArrowStream", arrow::COLUMNS.join(", "))
});

/// The one place where the client's errors become ours.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
pub fn server_error(error: Error) -> ServerError {
    match error {
        Error::BadResponse(text) => codes::classify(&text),
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
