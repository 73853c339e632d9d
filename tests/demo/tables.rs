//! Queries to ClickHouse over plain HTTP, as any tool sends them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::blocking::Client;

/// A read-only user of the database.
pub struct Tables {
    client: Client,
    url: String,
    user: String,
    password: String,
    database: String,
}

impl Tables {
    /// Reads the address and the user from the stack's variables.
    pub fn new(env: &[(&'static str, String)]) -> Result<Self> {
        let value = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone()).with_context(|| format!("no {name}"))
        };
        Ok(Self {
            client: Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?,
            url: value("CLICKHOUSE_URL")?,
            user: value("CLICKHOUSE_READONLY_USER")?,
            password: value("CLICKHOUSE_READONLY_PASSWORD")?,
            database: value("CLICKHOUSE_DATABASE")?,
        })
    }

    /// Rows of tab-separated text.
    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let answer = self
            .client
            .post(format!("{}/?database={}", self.url, self.database))
            .basic_auth(&self.user, Some(&self.password))
            .body(sql.to_owned())
            .send()?;
        let status = answer.status();
        let text = answer.text()?;
        if !status.is_success() {
            bail!("{}", text.trim());
        }
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The only value of the only row.
    pub fn value(&self, sql: &str) -> Result<String> {
        let rows = self.rows(sql)?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next());
        value.with_context(|| format!("no row: {sql}"))
    }

    /// The server's current time.
    pub fn now(&self) -> Result<String> {
        self.value("SELECT now64(6, 'UTC')")
    }
}
