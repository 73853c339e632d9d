//! The store in PostgreSQL, for several hosts.
//!
//! Several publishers share the work: each one locks the links that it publishes until all replicas have
//! them, and skips those that another one has locked. A change of a locked link waits for the lock.

mod session;

use std::ops::RangeInclusive;
use std::time::Duration;

use native_tls::TlsConnector;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Config, Error, Row};

use crate::links::link_entry::{LinkEntry, Status};
use crate::links::store::backend::{
    BY_FOLDED_NAME, BY_ID, BY_IDS, BY_NAME, Backend, DAYS, FOLDED_INDEX, FORGET, KEEP_KEY, KEYS,
    PAGE, PAGE_ALL, QUEUE, QUEUE_ALL, QUEUE_ONE, QUEUED, WAITING, WRITE, Work,
};
use crate::links::store::change::LinkTransaction;
use crate::links::store::error::StoreError;
use crate::links::store::postgres::session::{Deadlines, Parameters, Session, error_of};
use crate::links::store::queued_links::{Published, QueuedLinks};
use crate::links::store::tls;
use crate::links::topic_versions::TopicVersions;

/// The system closes a connection after this time without an acknowledgement of sent bytes or of a probe.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// The system probes a connection after this idle time, and then at this interval.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Default of the client, if the URL sets no time.
const KEEPALIVE_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);
const KEEPALIVE_PROBES: u32 = 3;

/// As [`super::backend::DONE`], for all published links.
const ALL_DONE: &str = "DELETE FROM link_outbox o
USING unnest($1::text[], $2::bigint[]) AS done (id, version)
WHERE o.link_id = done.id AND o.version <= done.version";

/// As [`super::backend::FORGET_BEFORE`], but never the keys of today and of the `$2` days before it by the
/// clock of the server: a host whose clock is ahead would delete keys that other hosts use.
const FORGET_BEFORE_NOW: &str = "DELETE FROM day_keys
WHERE day < $1 AND day < floor(extract(epoch FROM now()) / 86400)::bigint - $2";

/// A client of the server, which connects at its first use.
pub struct Postgres {
    config: Config,
    tls: TlsConnector,
    deadlines: Deadlines,
    session: Option<Session>,
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
    /// The URL is invalid, it does not decide whether a password may cross a network unencrypted, or its
    /// certificates cannot be read.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let (url, roots) = tls::split(url);
        // The error names the parameter, but not its value.
        let mut config: Config = url.parse().map_err(|error: Error| error_of(&error))?;
        if roots.is_some() {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_ssl_mode() == SslMode::Prefer && !is_on_this_host(&config) {
            let cause = "the URL names another host, but not whether to use TLS: append \
                         ?sslmode=require (or ?sslrootcert=FILE), or ?sslmode=disable, which sends \
                         passwords and day keys unencrypted";
            return Err(StoreError::Unusable(cause.to_owned()));
        }
        let tls = tls::connector(roots.as_deref())?;
        bound(&mut config);
        config.application_name("clicktrail-producer");
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        let deadlines = Deadlines::of(u32::try_from(hosts).unwrap_or(1));
        Ok(Self { config, tls, deadlines, session: None })
    }

    fn session(&mut self) -> Result<&Session, StoreError> {
        let session = match self.session.take().filter(Session::is_usable) {
            Some(session) => session,
            None => Session::open(&self.config, &self.tls, self.deadlines)?,
        };
        Ok(self.session.insert(session))
    }

    fn many(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<LinkEntry>, StoreError> {
        self.session()?.query(sql, parameters)?.iter().map(entry).collect()
    }

    fn run(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, StoreError> {
        self.session()?.execute(sql, parameters)
    }
}

/// Whether all servers of the URL are on this host.
fn is_on_this_host(config: &Config) -> bool {
    // The client uses an address instead of the host name.
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(|address| address.to_canonical().is_loopback());
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
        }
    })
}

/// Sets the limits by which the system notices a lost server; limits of the URL stay.
fn bound(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Deadlines::default().connect);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if config.get_keepalives_idle() == KEEPALIVE_DEFAULT {
        config.keepalives_idle(KEEPALIVE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_PROBES);
    }
}

impl Backend for Postgres {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), StoreError> {
        self.session()?.transaction(|session| work(&mut Transaction(session)))
    }

    fn get(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        Ok(self.many(BY_ID, &[&id])?.pop())
    }

    fn entries(&mut self, ids: &[&str]) -> Result<Vec<LinkEntry>, StoreError> {
        self.many(BY_IDS, &[&ids])
    }

    fn page(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.many(PAGE, &[&after, &i64::from(limit)])
    }

    fn page_all(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.many(PAGE_ALL, &[&after, &i64::from(limit)])
    }

    fn waiting(&mut self) -> Result<u64, StoreError> {
        let rows = self.session()?.query(WAITING, &[])?;
        let count: i64 = value(rows.first())?;
        // A count is never negative.
        u64::try_from(count).map_err(|error| StoreError::Unusable(error.to_string()))
    }

    fn republish(&mut self) -> Result<u64, StoreError> {
        self.run(QUEUE_ALL, &[])
    }

    fn queue(&mut self, id: &str) -> Result<(), StoreError> {
        self.run(QUEUE_ONE, &[&id]).map(drop)
    }

    fn publish_newest(
        &mut self,
        limit: u32,
        topic: &dyn TopicVersions,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<Published, StoreError> {
        self.session()?.transaction(|session| {
            let sql = format!("{QUEUED} FOR UPDATE OF l SKIP LOCKED");
            let rows = session.query(&sql, &[&i64::from(limit)])?;
            let entries: Vec<_> = rows.iter().map(entry).collect::<Result<_, _>>()?;
            let QueuedLinks { ready, raised } = QueuedLinks::new(entries, topic);
            let mut held = Transaction(session);
            raised.iter().try_for_each(|entry| held.write(entry))?;
            if !ready.is_empty() {
                publish(&ready).map_err(StoreError::Unpublished)?;
                done(session, &ready)?;
            }
            Ok(Published { links: ready.len(), raised })
        })
    }

    fn day_keys(&mut self, days: RangeInclusive<i32>) -> Result<Vec<(i32, Vec<u8>)>, StoreError> {
        let [first, last] = [days.start(), days.end()].map(|day| i64::from(*day));
        let rows = self.session()?.query(KEYS, &[&first, &last])?;
        let key = |row: &Row| Ok((row.try_get::<_, i64>(0)?, row.try_get::<_, Vec<u8>>(1)?));
        let keys: Result<Vec<_>, Error> = rows.iter().map(key).collect();
        let keys = keys.map_err(|error| error_of(&error))?.into_iter();
        Ok(keys.filter_map(|(day, key)| Some((i32::try_from(day).ok()?, key))).collect())
    }

    fn keep_day_key(&mut self, day: i32, fresh: [u8; 32]) -> Result<(), StoreError> {
        self.run(KEEP_KEY, &[&i64::from(day), &&fresh[..]]).map(drop)
    }

    fn forget_before(&mut self, day: i32, days: i32) -> Result<u64, StoreError> {
        // Clicks around midnight need the key of yesterday.
        let before = i64::from(days - 1).max(1);
        self.run(FORGET_BEFORE_NOW, &[&i64::from(day), &before])
    }

    fn forget_day(&mut self, day: i32) -> Result<bool, StoreError> {
        Ok(self.run(FORGET, &[&i64::from(day)])? > 0)
    }

    fn days(&mut self) -> Result<Vec<i32>, StoreError> {
        let rows = self.session()?.query(DAYS, &[])?;
        let days = rows.iter().map(|row| value::<i64>(Some(row))).collect::<Result<Vec<_>, _>>()?;
        Ok(days.into_iter().filter_map(|day| i32::try_from(day).ok()).collect())
    }
}

/// Removes published links from the queue, unless they have changed since.
fn done(session: &Session, entries: &[LinkEntry]) -> Result<(), StoreError> {
    let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let versions: Vec<_> = entries.iter().map(|entry| entry.version).collect();
    session.execute(ALL_DONE, &[&ids, &versions]).map(drop)
}

/// The first column of a row.
fn value<T: for<'a> FromSql<'a>>(row: Option<&Row>) -> Result<T, StoreError> {
    let row = row.ok_or_else(|| StoreError::Unusable("the answer has no row".to_owned()))?;
    row.try_get(0).map_err(|error| error_of(&error))
}

struct Transaction<'a>(&'a Session);

impl Transaction<'_> {
    /// Locks the links that it finds, so that versions grow one by one.
    fn one(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<LinkEntry>, StoreError> {
        let sql = format!("{sql} FOR UPDATE");
        self.0.query_locked(&sql, parameters)?.first().map(entry).transpose()
    }
}

impl LinkTransaction for Transaction<'_> {
    fn by_id(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        self.one(BY_ID, &[&id])
    }

    fn by_name(&mut self, domain: &str, slug: &str) -> Result<Option<LinkEntry>, StoreError> {
        self.one(BY_NAME, &[&domain, &slug])
    }

    fn by_folded_name(
        &mut self,
        domain: &str,
        slug: &str,
    ) -> Result<Option<LinkEntry>, StoreError> {
        self.one(BY_FOLDED_NAME, &[&domain, &slug.to_ascii_lowercase(), &slug])
    }

    fn index_folded(&mut self) -> Result<(), StoreError> {
        self.0.execute(FOLDED_INDEX, &[]).map(drop)
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
        if self.0.execute(WRITE, &parameters)? == 0 {
            return Err(StoreError::Conflict);
        }
        self.0.execute(QUEUE, &[&entry.id, &entry.version]).map(drop)
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
            // An unknown status becomes the default.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l13_another_host_is_refused_unless_the_url_says_whether_tls_is_used() {
        for url in [
            "postgres://u:geheim@db.example/links",
            "postgres://u:geheim@db.example/links?sslmode=prefer",
            "postgres://u:geheim@192.0.2.1:5432/links",
            "postgres://u:geheim@[2001:db8::1]/links",
            "postgres://u:geheim@localhost,db.example/links",
            "postgres://u:geheim@localhost/links?hostaddr=192.0.2.1",
            "postgres://u:geheim@localhost.example/links",
            "postgres://u:geheim@127.0.0.1.example/links",
            "postgres://u@0.0.0.0/links?password=geheim",
        ] {
            let error = Postgres::new(url).err().unwrap_or_else(|| panic!("{url}"));
            assert_eq!(error.code(), "links_db_broken", "{url}: {error}");
            let text = error.to_string();
            assert!(text.contains("sslmode=disable") && !text.contains("geheim"), "{url}: {text}");
        }
    }

    #[test]
    fn l13_a_url_of_this_host_or_with_a_tls_mode_is_used() {
        for (url, mode) in [
            ("postgres://u@127.0.0.1/links", SslMode::Prefer),
            ("postgres://u@127.9.9.9/links", SslMode::Prefer),
            ("postgres://u@localhost:5433/links", SslMode::Prefer),
            ("postgres://u@[::1]/links", SslMode::Prefer),
            ("postgres://u@%2Frun%2Fpostgresql/links", SslMode::Prefer),
            ("postgres://u@db.example/links?hostaddr=127.0.0.1", SslMode::Prefer),
            ("postgres://u@db.example/links?sslmode=disable", SslMode::Disable),
            ("postgres://u@db.example/links?sslmode=require", SslMode::Require),
            ("postgres://u@db.example/links?sslmode=verify-full", SslMode::Require),
        ] {
            let client = Postgres::new(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(client.config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn m9_a_connection_has_limits_by_which_the_system_notices_a_lost_server() {
        let client = Postgres::new("postgres://u@localhost/links").unwrap();
        let config = &client.config;
        assert_eq!(config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
        assert!(config.get_keepalives() && config.get_keepalives_idle() == KEEPALIVE);
        assert_eq!(config.get_keepalives_interval(), Some(KEEPALIVE));
        assert_eq!(config.get_connect_timeout(), Some(&Deadlines::default().connect));
        let two = Postgres::new("postgres://u@localhost:1,localhost:2/links").unwrap();
        assert_eq!(two.deadlines.connect, 2 * client.deadlines.connect, "the second is tried too");
        let named = "postgres://u@localhost/links?tcp_user_timeout=3&keepalives_idle=60";
        let client = Postgres::new(named).unwrap();
        assert_eq!(client.config.get_tcp_user_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(client.config.get_keepalives_idle(), Duration::from_secs(60));
    }
}
