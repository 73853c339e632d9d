//! The table of clicks of one server: inserts rows. A click may have several versions in it.
//!
//! An `Ok` of [`ClickTable::insert`] means that the rows are durable: every insert pins the settings
//! that could weaken it. It does not retry.
#![expect(clippy::disallowed_methods, reason = "the query id of an attempt is random")]

use std::sync::LazyLock;
use std::time::Duration;

use broker::ServerError;
use clickhouse::{Client, Compression};
use records::encode::columns;
use records::encode::encoded_rows::EncodedRows;

use crate::clickhouse::insert_settings::{
    PINNED, PINNED_WHERE_KNOWN, SEND_TIMEOUT, UNMERGED, UNMERGED_ROWS_MIN, WAIT,
};
use crate::clickhouse::query_id;
use crate::clickhouse::server::{Server, server_error, within};
use crate::run::sink::Insert;
use crate::run::trace::note_query_id;

/// The table `click_versions`; clones share its connections.
#[derive(Clone)]
pub struct ClickTable {
    client: Client,
}

/// Bounds the query of [`ClickTable::open`].
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl std::fmt::Debug for ClickTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("click_versions")
    }
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!("INSERT INTO click_versions ({}) FORMAT ArrowStream", columns::COLUMNS.join(", "))
});

impl ClickTable {
    /// Queries the server for the pinned settings that it knows.
    ///
    /// # Errors
    /// The server's refusal; retryable while it is unreachable.
    pub async fn open(server: &Server) -> Result<Self, ServerError> {
        // The rows are already compressed.
        let mut client = server.client().with_compression(Compression::None);
        for (name, value) in PINNED.iter().chain([&WAIT]) {
            client = client.with_setting(*name, *value);
        }
        let (name, value) = PINNED_WHERE_KNOWN;
        // This client names no database, because it may not exist yet.
        let bare = server.bare();
        let query = bare.query("SELECT count() FROM system.settings WHERE name = ?").bind(name);
        let known: u64 = within(OPEN_TIMEOUT, query.fetch_one()).await?;
        if known == 1 {
            client = client.with_setting(name, value);
        }
        Ok(Self { client })
    }

    /// The pinned settings as they apply to a query of this client. The query also sends the setting of large inserts, so
    /// that a server that refuses it is found before the first of them.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn settings(&self) -> Result<Vec<(String, String)>, ServerError> {
        let names: Vec<&str> = PINNED.iter().map(|(name, _)| *name).collect();
        let query = self.client.query("SELECT name, value FROM system.settings WHERE name IN ?");
        let query = query.with_setting(UNMERGED.0, UNMERGED.1);
        query.bind(names).fetch_all().await.map_err(server_error)
    }

    /// Inserts rows as one statement, whose acknowledgement may take this long. `Ok` means durable.
    ///
    /// # Errors
    /// After an error the server may have stored the rows or not. Insert them again: that changes no
    /// count that a reader sees.
    pub(super) async fn insert(
        &self,
        insert: &Insert<'_>,
        acknowledge: Duration,
    ) -> Result<(), ServerError> {
        let Insert { topic, ranges, rows, traceparent, .. } = *insert;
        let stream = EncodedRows::stream(rows.iter());
        let stream = stream.map_err(|error| ServerError::fatal("clickhouse_client", error))?;
        let attempt = uuid::Uuid::new_v4().simple().to_string();
        let query_id = query_id::query_id(topic, ranges, &attempt);
        let mut client = self.client.clone();
        if let Some(value) = traceparent {
            client = client.with_header("traceparent", value);
        }
        let mut request = client
            .insert_formatted_with(INSERT.as_str())
            .with_setting("decompress", "1")
            .with_setting("query_id", query_id.clone())
            .with_setting("log_comment", query_id::log_comment(topic, ranges, traceparent))
            .with_timeouts(Some(SEND_TIMEOUT), Some(acknowledge));
        if rows.iter().map(|block| block.count).sum::<usize>() >= UNMERGED_ROWS_MIN {
            let (name, value) = UNMERGED;
            request = request.with_setting(name, value);
        }
        for piece in stream {
            request.send(piece).await.map_err(server_error)?;
        }
        request.end().await.map_err(server_error)?;
        // Of an attempt that succeeded only: others are in the log lines.
        note_query_id(&query_id);
        Ok(())
    }
}
