//! The store in PostgreSQL: for several hosts.
//!
//! Several publishers share the work: each locks the links that it publishes until all replicas have
//! them, and skips those that another one has locked. A change of such a link waits as long.

use std::time::Duration;

use native_tls::TlsConnector;
use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Client, Config, Error, NoTls, Row};
use postgres_native_tls::MakeTlsConnector;

use crate::links::link_entry::{LinkEntry, Status};
use crate::links::store::backend::{
    BY_ID, BY_NAME, Backend, DAYS, DONE, FORGET, KEEP_KEY, KEY, PAGE, QUEUE, QUEUE_ALL, QUEUE_ONE,
    QUEUED, TABLES, WAITING, WRITE, Work,
};
use crate::links::store::change::LinkTransaction;
use crate::links::store::error::StoreError;
use crate::links::store::tls;

const CONNECT: Duration = Duration::from_secs(5);
/// The wait for a locked link has a limit, and a session that holds one and does nothing loses it.
/// Publishing takes a sixth of that time.
const SESSION_SETTINGS: &str = "SET lock_timeout = '15s'; SET idle_in_transaction_session_timeout = '60s'; \
     SET client_min_messages = warning";
/// The lock of the process that creates the tables; any number that nothing else uses.
const LOCK_TABLES: &str = "SELECT pg_advisory_xact_lock(7236837112)";

/// One client of the server, connected at its first use.
pub struct Postgres {
    config: Config,
    tls: TlsConnector,
    client: Option<Client>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

impl Postgres {
    /// A client of the server at this URL. It does not connect yet.
    ///
    /// # Errors
    /// It is no URL of a server, or its certificates cannot be read.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let (url, roots) = tls::split(url);
        // The error names the parameter and holds no value.
        let mut config: Config = url.parse().map_err(|error: Error| error_of(&error))?;
        if roots.is_some() {
            config.ssl_mode(SslMode::Require);
        }
        let tls = tls::connector(roots.as_deref())?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.application_name("clicktrail-producer");
        Ok(Self { config, tls, client: None })
    }

    fn client(&mut self) -> Result<&mut Client, StoreError> {
        if self.client.as_ref().is_some_and(Client::is_closed) {
            self.client = None;
        }
        match self.client {
            Some(ref mut client) => Ok(client),
            None => {
                let client = connect(&self.config, &self.tls)?;
                Ok(self.client.insert(client))
            }
        }
    }

    fn many(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<LinkEntry>, StoreError> {
        let rows = self.client()?.query(sql, parameters).map_err(|error| error_of(&error))?;
        rows.iter().map(entry).collect()
    }

    fn run(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        self.client()?.execute(sql, parameters).map_err(|error| error_of(&error))
    }
}

fn connect(config: &Config, tls: &TlsConnector) -> Result<Client, StoreError> {
    let client = if config.get_ssl_mode() == SslMode::Require {
        config.connect(MakeTlsConnector::new(tls.clone()))
    } else {
        config.connect(NoTls)
    };
    let mut client = client.map_err(|error| error_of(&error))?;
    client.batch_execute(SESSION_SETTINGS).map_err(|error| error_of(&error))?;
    let made = client.transaction().and_then(|mut transaction| {
        transaction.batch_execute(LOCK_TABLES)?;
        transaction.batch_execute(TABLES)?;
        transaction.commit()
    });
    made.map_err(|error| error_of(&error))?;
    Ok(client)
}

impl Backend for Postgres {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), StoreError> {
        let transaction = self.client()?.transaction().map_err(|error| error_of(&error))?;
        let mut held = Transaction(transaction);
        work(&mut held)?;
        held.0.commit().map_err(|error| error_of(&error))
    }

    fn get(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        Ok(self.many(BY_ID, &[&id])?.pop())
    }

    fn page(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.many(PAGE, &[&after, &i64::from(limit)])
    }

    fn waiting(&mut self) -> Result<u64, StoreError> {
        let row = self.client()?.query_one(WAITING, &[]).map_err(|error| error_of(&error))?;
        let count: i64 = row.try_get(0).map_err(|error| error_of(&error))?;
        // A count is never negative.
        u64::try_from(count).map_err(|error| StoreError::Unusable(error.to_string()))
    }

    fn republish(&mut self) -> Result<u64, StoreError> {
        self.run(QUEUE_ALL, &[])
    }

    fn queue(&mut self, id: &str) -> Result<(), StoreError> {
        self.run(QUEUE_ONE, &[&id]).map(drop)
    }

    fn publish_waiting(
        &mut self,
        limit: u32,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<usize, StoreError> {
        let mut transaction = self.client()?.transaction().map_err(|error| error_of(&error))?;
        let sql = format!("{QUEUED} FOR UPDATE OF l SKIP LOCKED");
        let rows = transaction.query(&sql, &[&i64::from(limit)]);
        let rows = rows.map_err(|error| error_of(&error))?;
        let entries: Vec<_> = rows.iter().map(entry).collect::<Result<_, _>>()?;
        if entries.is_empty() {
            return Ok(0);
        }
        publish(&entries).map_err(StoreError::Unpublished)?;
        for entry in &entries {
            let done = transaction.execute(DONE, &[&entry.id, &entry.version]);
            done.map_err(|error| error_of(&error))?;
        }
        transaction.commit().map_err(|error| error_of(&error))?;
        Ok(entries.len())
    }

    fn day_key(&mut self, day: i32, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let day = i64::from(day);
        self.run(KEEP_KEY, &[&day, &&fresh[..]])?;
        let row = self.client()?.query_one(KEY, &[&day]).map_err(|error| error_of(&error))?;
        let key: &[u8] = row.try_get(0).map_err(|error| error_of(&error))?;
        key.try_into()
            .map_err(|_| StoreError::Unusable(format!("the key of day {day} has not 32 bytes")))
    }

    fn forget_day(&mut self, day: i32) -> Result<bool, StoreError> {
        Ok(self.run(FORGET, &[&i64::from(day)])? > 0)
    }

    fn days(&mut self) -> Result<Vec<i32>, StoreError> {
        let rows = self.client()?.query(DAYS, &[]).map_err(|error| error_of(&error))?;
        let day = |row: &Row| row.try_get::<_, i64>(0).map_err(|error| error_of(&error));
        let days = rows.iter().map(day).collect::<Result<Vec<_>, _>>()?;
        Ok(days.into_iter().filter_map(|day| i32::try_from(day).ok()).collect())
    }
}

struct Transaction<'a>(postgres::Transaction<'a>);

impl Transaction<'_> {
    /// Locks what it finds, so that versions grow one by one.
    fn one(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<LinkEntry>, StoreError> {
        let sql = format!("{sql} FOR UPDATE");
        let row = self.0.query_opt(&sql, parameters).map_err(|error| error_of(&error))?;
        row.as_ref().map(entry).transpose()
    }
}

impl LinkTransaction for Transaction<'_> {
    fn by_id(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        self.one(BY_ID, &[&id])
    }

    fn by_name(&mut self, domain: &str, slug: &str) -> Result<Option<LinkEntry>, StoreError> {
        self.one(BY_NAME, &[&domain, &slug])
    }

    fn write(&mut self, entry: &LinkEntry) -> Result<(), StoreError> {
        let status = i64::from(entry.status.code());
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &entry.id,
            &entry.version,
            &entry.domain,
            &entry.slug,
            &entry.target,
            &status,
            &entry.disabled,
            &entry.expires_at,
            &entry.pass_query,
            &entry.opt_out,
            &entry.deleted,
            &entry.changed_at,
        ];
        let written = self.0.execute(WRITE, &parameters).map_err(|error| error_of(&error))?;
        if written == 0 {
            return Err(StoreError::Conflict);
        }
        let queued = self.0.execute(QUEUE, &[&entry.id, &entry.version]);
        queued.map(drop).map_err(|error| error_of(&error))
    }
}

fn entry(row: &Row) -> Result<LinkEntry, StoreError> {
    let read = || -> Result<LinkEntry, Error> {
        let status: i64 = row.try_get(5)?;
        Ok(LinkEntry {
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            domain: row.try_get(2)?,
            slug: row.try_get(3)?,
            target: row.try_get(4)?,
            // A status that this program does not know is the default one.
            status: u16::try_from(status)
                .ok()
                .and_then(|code| Status::parse(code).ok())
                .unwrap_or_default(),
            disabled: row.try_get(6)?,
            expires_at: row.try_get(7)?,
            pass_query: row.try_get(8)?,
            opt_out: row.try_get(9)?,
            deleted: row.try_get(10)?,
            changed_at: row.try_get(11)?,
        })
    };
    read().map_err(|error| error_of(&error))
}

/// The text of an error leaves out the message of the server.
fn error_of(error: &Error) -> StoreError {
    let cause = std::error::Error::source(error);
    let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    let Some(code) = error.code() else {
        // No answer of the server: the connection is gone, or was never there.
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
        // Connections, idle transactions, resources, locks, an operator's stop.
        Some("08" | "25" | "53" | "55" | "57") => StoreError::Unreachable(text),
        Some(_) | None => StoreError::Unusable(text),
    }
}
