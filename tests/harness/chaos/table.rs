//! Queries to the engine itself, without the fault proxy: each query has a deadline, and an unreachable
//! engine is an error, not a panic.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use reqwest::blocking::Client;

use super::expected_clicks::Id;
use crate::world::World;

const TIMEOUT: Duration = Duration::from_secs(120);
const PROBE: Duration = Duration::from_millis(700);

/// The tables of one world.
#[derive(Debug)]
pub(super) struct Table {
    client: Client,
    url: String,
    user: (String, String),
    database: String,
    address: SocketAddr,
}

impl Table {
    pub(super) fn of(world: &World) -> Self {
        let url = world.backends.clickhouse.clone();
        let host = url.trim_start_matches("http://").parse().expect("an address");
        Self {
            client: Client::builder()
                .timeout(TIMEOUT)
                .pool_max_idle_per_host(0)
                .build()
                .expect("a client can be made"),
            url,
            user: world.backends.user.clone(),
            database: world.database.clone(),
            address: host,
        }
    }

    /// The bytes of a result.
    ///
    /// # Errors
    /// The server's error, or the client's without a response.
    pub(super) fn ask(&self, sql: String) -> Result<Vec<u8>, String> {
        let answer = self
            .client
            .post(format!("{}/", self.url))
            .header("X-ClickHouse-User", &self.user.0)
            .header("X-ClickHouse-Key", &self.user.1)
            .header("X-ClickHouse-Database", &self.database)
            .body(sql)
            .send()
            .map_err(|error| error.to_string())?;
        let good = answer.status().is_success();
        let bytes = answer.bytes().map_err(|error| error.to_string())?;
        match good {
            true => Ok(bytes.to_vec()),
            false => Err(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The numbers of a result, row by row.
    pub(super) fn numbers(&self, sql: String) -> Result<Vec<u64>, String> {
        let text = String::from_utf8_lossy(&self.ask(sql)?).into_owned();
        let words = text.split_whitespace();
        words.map(|word| word.parse().map_err(|_| format!("no number: {word}"))).collect()
    }

    /// The ids that a query of one `FixedString(16)` column returns.
    pub(super) fn ids(&self, select: &str) -> Result<Vec<Id>, String> {
        let bytes = self.ask(format!("{select} FORMAT RowBinary"))?;
        let (ids, rest) = bytes.as_chunks::<16>();
        if rest.is_empty() { Ok(ids.to_vec()) } else { Err("a truncated response".to_owned()) }
    }

    /// Whether the engine answers now.
    pub(super) fn answers(&self) -> bool {
        let knock = || -> std::io::Result<usize> {
            let mut stream = TcpStream::connect_timeout(&self.address, PROBE)?;
            stream.set_read_timeout(Some(PROBE))?;
            stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            stream.read(&mut [0; 64])
        };
        knock().is_ok_and(|length| length > 0)
    }
}
