//! The table of links: rows by id, of which readers see the newest version.

use broker::ServerError;
use clickhouse::Row;
use schemas::RawLink;
use serde::Serialize;

use crate::clickhouse::insert_settings::PINNED;
use crate::clickhouse::server::{Server, server_error};

/// The latest time that the column can hold, 2299-12-31 (microseconds).
const LATEST: i64 = 10_413_705_600_000_000;

/// One version of a link.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize)]
pub struct LinkRow {
    link_id: String,
    version: u64,
    domain: String,
    slug: String,
    target_url: String,
    status: u16,
    disabled: bool,
    expires_at: Option<i64>,
    pass_query: bool,
    opt_out: bool,
    deleted: bool,
    changed_at: i64,
}

impl LinkRow {
    /// The row of a link of the topic.
    pub fn new(link: &RawLink<'_>) -> Self {
        let in_range = |time: i64| time.clamp(0, LATEST);
        // The producer writes no negative number; a record of another program must not stop the others.
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Self {
            link_id: link.id.to_owned(),
            version: unsigned(link.version),
            domain: link.domain.to_owned(),
            slug: link.slug.to_owned(),
            target_url: link.target.to_owned(),
            // Likewise.
            status: u16::try_from(link.status).unwrap_or(0),
            disabled: link.disabled,
            expires_at: link.expires_at.map(in_range),
            pass_query: link.pass_query,
            opt_out: link.opt_out,
            deleted: link.deleted,
            changed_at: in_range(link.changed_at),
        }
    }
}

/// Inserts versions of links. To insert them again changes nothing that a reader sees.
///
/// # Errors
/// The server's refusal.
pub async fn insert_links(server: &Server, rows: &[LinkRow]) -> Result<(), ServerError> {
    let mut client = server.client();
    for (name, value) in PINNED {
        client = client.with_setting(*name, *value);
    }
    let mut insert = client.insert::<LinkRow>("link_versions").await.map_err(server_error)?;
    for row in rows {
        insert.write(row).await.map_err(server_error)?;
    }
    insert.end().await.map_err(server_error)
}
