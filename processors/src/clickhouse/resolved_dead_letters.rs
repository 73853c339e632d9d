//! Dead letters whose redriven copy has become a row: finds them, and adds their events `resolved`.

use std::ops::RangeInclusive;
use std::time::Duration;

use broker::ServerError;
use clickhouse::{Client, Row};
use serde::Deserialize;

use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::origin_columns::KEY;
use crate::clickhouse::server::{Server, within};
use crate::shards::cluster::Cluster;

/// Dead letters that one round looks up.
const LETTERS_MAX: u32 = 10_000;
/// Bounds a statement.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bounds of a statement at the server: time, because it would run the statement of a client that no longer
/// waits to its end; threads, which inserts need.
const BOUNDS: [(&str, &str); 2] = [("max_execution_time", "60"), ("max_threads", "1")];

/// The pending dead letters, and between which times their clicks occurred (microseconds since 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub struct Pending {
    /// Number of dead letters.
    pub letters: u64,
    /// The earliest time.
    pub first_us: i64,
    /// The latest time.
    pub last_us: i64,
}

/// Number of events of all dead letters, which only grows. The server knows it without reading the table.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn events(server: &Server) -> Result<u64, ServerError> {
    let client = server.client();
    within(TIMEOUT, client.query_raw("SELECT count() FROM dead_letter_events").fetch_one()).await
}

fn bounded_client(server: &Server) -> Client {
    BOUNDS.iter().fold(server.client(), |client, (name, value)| client.with_setting(*name, *value))
}

/// Counts the pending dead letters.
///
/// # Errors
/// As [`events`].
pub async fn pending(server: &Server) -> Result<Pending, ServerError> {
    let text = format!(
        "SELECT count() AS letters, toUnixTimestamp64Micro(min(occurred_at)) AS first_us, \
         toUnixTimestamp64Micro(max(occurred_at)) AS last_us FROM ({})",
        sent_copies()
    );
    within(TIMEOUT, bounded_client(server).query_raw(&text).fetch_one()).await
}

/// Adds an event `resolved` to each pending dead letter whose click was inserted since its copy was sent.
/// The clicks occurred within `times_us`, by which the server finds the rows. Of more than 10,000 pending
/// dead letters, it looks up other ones for each `round`.
///
/// # Errors
/// As [`events`]. The events may be stored or not; to add one again changes no state.
pub async fn resolve(
    cluster: &Cluster,
    times_us: RangeInclusive<i64>,
    round: u64,
) -> Result<(), ServerError> {
    let mut client = bounded_client(cluster.any());
    for (name, value) in PINNED.iter().chain([&WAIT]) {
        client = client.with_setting(*name, *value);
    }
    let rows = if cluster.layout.is_single() { ClickRows::OneServer } else { ClickRows::AllShards };
    within(TIMEOUT, client.query_raw(&resolve_text(rows, times_us, round)).execute()).await
}

/// Where the clicks of copies are looked up.
#[derive(Debug, Clone, Copy)]
enum ClickRows {
    /// All versions of one server, which costs less than to choose the newest ones.
    OneServer,
    /// The view of all shards, which get the keys of the copies with the query.
    AllShards,
}

impl ClickRows {
    /// Table, and operator.
    fn sql(self) -> (&'static str, &'static str) {
        match self {
            Self::OneServer => ("click_versions", "IN"),
            Self::AllShards => ("clicks", "GLOBAL IN"),
        }
    }
}

fn resolve_text(rows: ClickRows, times_us: RangeInclusive<i64>, round: u64) -> String {
    let time = |us: i64| format!("fromUnixTimestamp64Micro(toInt64({us}), 'UTC')");
    let (table, is_in) = rows.sql();
    format!(
        "INSERT INTO dead_letter_events \
         ({KEY}, kind, redrive, job, event_id, occurred_at, actor, reason) \
         WITH sent AS ({copies} ORDER BY cityHash64({KEY}, {round}) LIMIT {LETTERS_MAX}) \
         SELECT {KEY}, 'resolved', copy, job, event_id, occurred_at, 'processors', '' \
         FROM sent INNER JOIN \
         (SELECT occurred_at, event_id, max(ingested_at) AS stored_at FROM {table} \
         WHERE occurred_at BETWEEN {first} AND {last} \
         AND (occurred_at, event_id) {is_in} (SELECT occurred_at, event_id FROM sent) \
         GROUP BY occurred_at, event_id) AS clicks \
         USING (occurred_at, event_id) WHERE stored_at >= sent_at",
        copies = sent_copies(),
        first = time(*times_us.start()),
        last = time(*times_us.end()),
    )
}

/// The pending dead letters, each with the key facts of the copy that its click must be newer than: the
/// newest one that was sent, or announced within an hour, else the newest. A job that ended between the
/// announcement and the sending so keeps no dead letter pending whose earlier copy became a row.
///
/// Copies announced before the last change of the state, or up to the number that failed, do not count,
/// and neither do those whose key facts are not known. Of several redrives that announced one number, the
/// copy is that of the one that recorded it as sent, else that of the first one that has not recorded that
/// the brokers refused it.
fn sent_copies() -> String {
    let open = format!(
        "(SELECT {KEY}, \
         maxIf(e.at, e.kind IN ('resolved', 'discarded', 'parked', 'reopened')) AS closed_at \
         FROM dead_letter_events AS e GROUP BY {KEY} \
         HAVING maxIf(e.at, e.kind = 'pending') > closed_at)"
    );
    let of_jobs = format!(
        "(SELECT {KEY}, e.redrive AS number, \
         argMinIf((e.at, e.redrive, e.job, e.event_id, e.occurred_at), e.at, e.kind = 'pending') \
         AS job_facts, \
         maxIf(e.at, e.kind = 'pending') AS announced_at, countIf(e.kind = 'sent') > 0 AS is_sent, \
         multiIf(is_sent, 0, maxIf(e.at, e.kind = 'reopened') > announced_at, 2, 1) AS job_order, \
         any(open.closed_at) AS last_closed_at \
         FROM dead_letter_events AS e INNER JOIN {open} AS open USING ({KEY}) \
         WHERE e.kind IN ('pending', 'sent', 'reopened') GROUP BY {KEY}, e.redrive, e.job \
         HAVING countIf(e.kind = 'pending') > 0)"
    );
    format!(
        "SELECT {KEY}, newest.1 AS sent_at, newest.2 AS copy, newest.3 AS job, \
         newest.4 AS event_id, newest.5 AS occurred_at FROM \
         (SELECT {KEY}, argMax(facts, (is_counted, number)) AS newest FROM \
         (SELECT {KEY}, number, max(announced_at) AS last_at, \
         argMin(job_facts, (job_order, job_facts.1, job_facts.3)) AS facts, \
         max(is_sent) OR last_at > now64(6) - INTERVAL 1 HOUR AS is_counted \
         FROM {of_jobs} GROUP BY {KEY}, number HAVING last_at > any(last_closed_at)) AS copies \
         INNER JOIN (SELECT {KEY}, redrive AS failed FROM dead_letters \
         WHERE state = 'pending' AND ({KEY}) IN (SELECT {KEY} FROM {open})) AS letters \
         USING ({KEY}) \
         WHERE copies.number > letters.failed AND facts.4 != toFixedString('', 16) GROUP BY {KEY})"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// The first line of the request that `statement` sends to its server, which does not answer it.
    async fn request<T>(statement: impl AsyncFnOnce(Server) -> T) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::behind(&listener);
        let first_line = std::thread::spawn(move || {
            let (connection, _) = listener.accept().unwrap();
            BufReader::new(connection).lines().next().unwrap().unwrap()
        });
        statement(server).await;
        first_line.join().unwrap()
    }

    #[tokio::test]
    async fn the_server_ends_a_statement_whose_client_no_longer_waits() {
        let pending = request(async |server| pending(&server).await.is_err()).await;
        let resolve =
            request(async |server| resolve(&Cluster::single(server), 0..=1, 0).await.is_err())
                .await;
        for line in [pending, resolve] {
            for (name, value) in BOUNDS {
                assert!(line.contains(&format!("{name}={value}")), "{line}");
            }
        }
    }
}
