//! The balance: the comparison of log and table. Each figure has its own source.

use anyhow::Result;

use crate::log_size::records;
use crate::sent_clicks::Total;
use crate::tables::Tables;

/// The figures of one comparison.
pub struct Balance {
    sent: Total,
    log: u64,
    dead_letters: u64,
    clicks: u64,
    duplicates: u64,
    click_to_row_p99_ms: String,
}

impl Balance {
    /// `sent` is the demo's own list; the broker and ClickHouse report the rest. Latency is
    /// that of redirects since `began`.
    pub fn take(
        sent: Total,
        tables: &Tables,
        env: &[(&'static str, String)],
        began: &str,
    ) -> Result<Self> {
        let brokers = env.iter().find(|(name, _)| *name == "KAFKA_BROKERS");
        let brokers = brokers.map(|(_, value)| value.as_str()).unwrap_or_default();
        let number = |sql: &str| -> Result<u64> { Ok(tables.value(sql)?.parse()?) };
        let latency = format!(
            "SELECT round(quantileExact(0.99)(dateDiff('millisecond', occurred_at, ingested_at))) \
             FROM clicks WHERE origin = 'redirect' AND occurred_at >= '{began}'"
        );
        Ok(Self {
            sent,
            log: records(brokers, "clicks.raw.v1")?,
            dead_letters: records(brokers, "clicks.raw.v1.dlq")?,
            clicks: number("SELECT count() FROM clicks")?,
            duplicates: number("SELECT count() - uniqExact(event_id) FROM clicks")?,
            click_to_row_p99_ms: tables.value(&latency)?,
        })
    }

    /// Whether no click is lost and none is counted twice.
    pub fn balanced(&self) -> bool {
        let sent = self.sent;
        self.log == sent.redirects + sent.imported + sent.resends + self.dead_letters
            && self.clicks == sent.redirects + sent.imported
            && self.duplicates == 0
    }
}

impl std::fmt::Display for Balance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.balanced() { "balanced" } else { "OUT OF BALANCE" };
        let Total { redirects, imported, resends } = self.sent;
        let Self { log, clicks, duplicates, dead_letters, click_to_row_p99_ms, .. } = self;
        write!(
            f,
            "books: {verdict} redirects={redirects} imported={imported} resends={resends} \
             log={log} clicks={clicks} duplicates={duplicates} dead_letters={dead_letters} \
             click_to_row_p99_ms={click_to_row_p99_ms}"
        )
    }
}
