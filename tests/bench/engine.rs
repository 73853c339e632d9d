//! ClickHouse over plain HTTP: queries, statements, and blocks of rows in both directions.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use harness::Backends;
use processors::clickhouse::insert_settings::{PINNED, UNMERGED};
use reqwest::blocking::Client;

/// How long a table must be without a merge to count as idle, and the longest wait for that.
const CALM: Duration = Duration::from_secs(2);
const CALM_WAIT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(200);

/// A client with all rights.
pub struct Engine {
    client: Client,
    url: String,
    user: (String, String),
    /// The database of unqualified names.
    database: Option<String>,
}

impl Engine {
    /// The client for the engine of a stack.
    pub fn of(backends: &Backends) -> Result<Self> {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(600)).build()?;
        let (url, user) = (format!("{}/", backends.clickhouse), backends.user.clone());
        Ok(Self { client, url, user, database: None })
    }

    /// The client as which a dashboard reads a database.
    pub fn reading(backends: &Backends, database: &str) -> Result<Self> {
        let (user, database) = (backends.reader.clone(), Some(database.to_owned()));
        Ok(Self { user, database, ..Self::of(backends)? })
    }

    /// Milliseconds until a query is answered completely.
    pub fn milliseconds(&self, sql: &str) -> Result<f64> {
        let mut parameters = vec![("default_format", "JSONCompact")];
        parameters.extend(self.database.as_deref().map(|name| ("database", name)));
        let began = Instant::now();
        self.send(&parameters, sql.into()).with_context(|| sql.to_owned())?;
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    }

    /// Sends `body`, with `parameters` in the URL.
    pub fn send(&self, parameters: &[(&str, &str)], body: Vec<u8>) -> Result<Vec<u8>> {
        let url = reqwest::Url::parse_with_params(&self.url, parameters)?;
        let request = self
            .client
            .post(url)
            .header("X-ClickHouse-User", &self.user.0)
            .header("X-ClickHouse-Key", &self.user.1);
        let answer = request.body(body).send()?;
        let status = answer.status();
        let bytes = answer.bytes()?;
        if !status.is_success() {
            bail!("{}", String::from_utf8_lossy(&bytes).trim());
        }
        Ok(bytes.to_vec())
    }

    /// The answer to a query, as tab-separated text.
    pub fn ask(&self, sql: &str) -> Result<String> {
        let bytes = self.send(&[], sql.into()).with_context(|| sql.to_owned())?;
        Ok(String::from_utf8(bytes)?.trim_end().to_owned())
    }

    /// The single number of a result.
    pub fn number(&self, sql: &str) -> Result<u64> {
        self.ask(sql)?.parse().with_context(|| sql.to_owned())
    }

    /// Rows on disk in the table of a database, all versions included.
    pub fn rows(&self, database: &str) -> Result<u64> {
        self.number(&format!(
            "SELECT sum(rows) FROM system.parts \
             WHERE active AND database = '{database}' AND table = 'click_versions'"
        ))
    }

    /// Waits until the merges of a database have ended.
    pub fn calm(&self, database: &str) -> Result<()> {
        let began = Instant::now();
        let (mut last, mut since) = (String::new(), began);
        while since.elapsed() < CALM && began.elapsed() < CALM_WAIT {
            std::thread::sleep(PAUSE);
            let now = self.ask(&format!(
                "SELECT (SELECT count() FROM system.merges WHERE database = '{database}'), \
                 (SELECT groupArray(name) FROM system.parts WHERE active AND database = '{database}')"
            ))?;
            if now != last || !now.starts_with("0\t") {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Inserts Native blocks of `columns` with the settings of our processors; durable on return.
    pub fn insert(&self, database: &str, columns: &str, batch: &Batch) -> Result<()> {
        let sql = format!("INSERT INTO click_versions ({columns}) FORMAT Native");
        let mut parameters = vec![("database", database), ("query", &sql)];
        parameters.extend(PINNED);
        parameters.extend([UNMERGED, ("wait_end_of_query", "1")]);
        if batch.packed {
            parameters.push(("decompress", "1"));
        }
        self.send(&parameters, batch.bytes.clone())?;
        Ok(())
    }
}

/// Rows in the format Native.
pub struct Batch {
    /// Whether they are compressed with LZ4.
    pub packed: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}
