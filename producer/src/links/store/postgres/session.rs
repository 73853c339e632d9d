//! A session of PostgreSQL: a connection on a separate runtime, with a deadline for each call.
//!
//! The deadlines of the server are shorter, so a working server ends a statement itself. A session that
//! missed a deadline is not used again, since the server may still work for it.

use std::cell::Cell;
use std::time::Duration;

use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row};

use crate::links::store::backend::TABLES;
use crate::links::store::error::StoreError;

/// Limits the wait for a locked link and the time of a statement, and closes a session that holds a lock
/// while it is idle. Publishing takes a sixth of that last limit.
const SESSION_SETTINGS: &str = "SET lock_timeout = '15s'; SET statement_timeout = '20s'; \
     SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning";
/// The lock of the process that creates the tables; its number is arbitrary, and not used otherwise.
const LOCK_TABLES: &str = "SELECT pg_advisory_xact_lock(7236837112)";

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Time limits of calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// To connect, for each host: name, TCP, TLS, login, session settings, and tables.
    pub(super) connect: Duration,
    /// A statement that waits for no lock.
    pub(super) statement: Duration,
    /// A statement that may wait for a link that is being published.
    pub(super) locked: Duration,
}

impl Deadlines {
    /// The limits of a URL with this number of hosts, which are tried one after the other.
    pub(super) fn of(hosts: u32) -> Self {
        let default = Self::default();
        Self { connect: default.connect * hosts.max(1), ..default }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            statement: Duration::from_secs(10),
            locked: Duration::from_secs(25),
        }
    }
}

/// A runtime that does not wait for its tasks when it is dropped, such as for the lookup of a name.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.map(|own| Self(Some(own))).map_err(|error| StoreError::Unusable(error.to_string()))
    }

    /// The result of `call`, or `None` after `limit`. Blocks.
    fn run<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
        let runtime = self.0.as_ref()?;
        runtime.block_on(async { tokio::time::timeout(limit, call).await.ok() })
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// An open connection.
pub(super) struct Session {
    client: Client,
    /// The task that reads and writes the connection during a call.
    _connection: JoinSet<()>,
    runtime: OwnRuntime,
    deadlines: Deadlines,
    missed_deadline: Cell<bool>,
}

impl Session {
    /// Connects, and creates the tables that do not exist. Blocks.
    ///
    /// # Errors
    /// The server does not answer in time, or refuses.
    pub(super) fn open(
        config: &Config,
        tls: &TlsConnector,
        deadlines: Deadlines,
    ) -> Result<Self, StoreError> {
        let runtime = OwnRuntime::new()?;
        let opened = runtime.run(deadlines.connect, open(config, tls));
        let (client, connection) =
            opened.ok_or_else(|| late(deadlines.connect))?.map_err(|error| error_of(&error))?;
        Ok(Self {
            client,
            _connection: connection,
            runtime,
            deadlines,
            missed_deadline: Cell::new(false),
        })
    }

    /// Whether the next call may succeed.
    pub(super) fn is_usable(&self) -> bool {
        !self.missed_deadline.get() && !self.client.is_closed()
    }

    /// The rows of a query that waits for no lock. Blocks.
    pub(super) fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.call(self.deadlines.statement, self.client.query(sql, parameters))
    }

    /// The rows of a query that may wait for locked links. Blocks.
    pub(super) fn query_locked(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.call(self.deadlines.locked, self.client.query(sql, parameters))
    }

    /// Runs a statement, which may wait for locked links, and returns how many rows it changed. Blocks.
    pub(super) fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, StoreError> {
        self.call(self.deadlines.locked, self.client.execute(sql, parameters))
    }

    /// Runs `work` in a transaction, which makes all of its changes or none. Blocks.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.batch("BEGIN")?;
        match work(self) {
            Ok(done) => self.batch("COMMIT").map(|()| done),
            Err(error) => {
                if self.is_usable() && self.batch("ROLLBACK").is_err() {
                    // Its locks end with the connection.
                    self.missed_deadline.set(true);
                }
                Err(error)
            }
        }
    }

    fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.call(self.deadlines.statement, self.client.batch_execute(sql))
    }

    fn call<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        match self.runtime.run(limit, call) {
            Some(result) => result.map_err(|error| error_of(&error)),
            None => {
                self.missed_deadline.set(true);
                Err(late(limit))
            }
        }
    }
}

async fn open(config: &Config, tls: &TlsConnector) -> Result<(Client, JoinSet<()>), Error> {
    let mut tasks = JoinSet::new();
    // The next call reports why a connection ended.
    let client = if config.get_ssl_mode() == SslMode::Require {
        let (client, connection) = config.connect(MakeTlsConnector::new(tls.clone())).await?;
        tasks.spawn(async move { drop(connection.await) });
        client
    } else {
        let (client, connection) = config.connect(NoTls).await?;
        tasks.spawn(async move { drop(connection.await) });
        client
    };
    client.batch_execute(SESSION_SETTINGS).await?;
    client.batch_execute(&format!("BEGIN; {LOCK_TABLES}; {TABLES} COMMIT")).await?;
    Ok((client, tasks))
}

fn late(limit: Duration) -> StoreError {
    StoreError::Unreachable(format!("no answer within {} ms", limit.as_millis()))
}

/// The store's error for an error of the client. Its text omits the message of the server.
pub(super) fn error_of(error: &Error) -> StoreError {
    let cause = std::error::Error::source(error);
    let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    let Some(code) = error.code() else {
        // The server did not answer: the connection is lost, or could not be made.
        let has = |part| text.contains(part);
        return if has("certificate verify failed") {
            StoreError::Unusable(format!(
                "{text}: its certificate is not signed by a trusted authority, or has another name \
                 than the URL; name the authority, as in ?sslrootcert=FILE"
            ))
        } else if has("invalid connection string") || has("does not support TLS") {
            StoreError::Unusable(text)
        } else {
            StoreError::Unreachable(text)
        };
    };
    let again = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    match code.code().get(..2) {
        _ if again.contains(code) => StoreError::Conflict,
        // Connections, idle transactions, resources, locks, an operator's stop, a time limit.
        Some("08" | "25" | "53" | "55" | "57") => StoreError::Unreachable(text),
        Some(_) | None => StoreError::Unusable(text),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::clock::now_ms;
    use crate::links::store::tls::connector;

    const LIMIT_MS: u64 = 300;
    const LIMIT: Duration = Duration::from_millis(LIMIT_MS);
    /// `AuthenticationOk` and `ReadyForQuery`.
    const LOGGED_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    /// `CommandComplete` of a statement, and `ReadyForQuery`.
    const DONE: &[u8] = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";

    /// Silent from the connection on, after the login, after the session's settings.
    const STEPS: [&[&[u8]]; 3] = [&[], &[LOGGED_IN], &[LOGGED_IN, DONE]];

    /// A server that answers a number of requests, and is silent from then on.
    fn silent_after(answers: &'static [&'static [u8]]) -> Config {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut silent: Vec<TcpStream> = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                for answer in answers {
                    let read = stream.read(&mut request).unwrap_or(0);
                    if read == 0 || stream.write_all(answer).is_err() {
                        break;
                    }
                }
                silent.push(stream);
            }
        });
        format!("postgres://u@127.0.0.1:{port}/d").parse().unwrap()
    }

    fn open(config: &Config) -> Result<Session, StoreError> {
        let deadlines = Deadlines { connect: LIMIT, statement: LIMIT, locked: LIMIT };
        Session::open(config, &connector(None).unwrap(), deadlines)
    }

    #[test]
    fn m9_a_server_that_is_silent_at_any_step_of_connecting_misses_the_deadline() {
        for answers in STEPS {
            let config = silent_after(answers);
            let began = now_ms();
            let error = open(&config).err().unwrap();
            assert_eq!(error.code(), "links_db_away", "{error}");
            assert!(now_ms() - began < LIMIT_MS * 40, "{} ms", now_ms() - began);
        }
    }

    #[test]
    fn m9_a_call_that_misses_its_deadline_ends_the_session() {
        let config = silent_after(&[LOGGED_IN, DONE, DONE]);
        for call in 0..3 {
            let session = open(&config).unwrap();
            assert!(session.is_usable());
            let began = now_ms();
            let error = match call {
                0 => session.query("SELECT 1", &[]).map(drop),
                1 => session.execute("SELECT 1", &[]).map(drop),
                _ => session.transaction(|_| Ok(())),
            };
            assert_eq!(error.unwrap_err().code(), "links_db_away");
            assert!(now_ms() - began < LIMIT_MS * 40 && !session.is_usable());
        }
    }
}
