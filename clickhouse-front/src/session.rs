//! Sessions (`session_id`): a connection that stays open between requests, with its settings,
//! its database and its temporary tables, until no request has used it for a while.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::engine::connection::Connection;
use crate::exception::Exception;

/// ClickHouse's `default_session_timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);
/// ClickHouse's `max_session_timeout`.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// The session that a request names, and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionRequest {
    /// `session_id`.
    pub(crate) id: String,
    /// `session_timeout` as sent, in seconds.
    pub(crate) timeout: Option<String>,
    /// `session_check`: the session must exist.
    pub(crate) check: bool,
    /// `close_session`: it ends with this request.
    pub(crate) close: bool,
}

impl SessionRequest {
    fn timeout(&self) -> Result<Duration, Exception> {
        let Some(text) = &self.timeout else { return Ok(TIMEOUT) };
        let wrong = |text| Err(Exception::new(374, text, "INVALID_SESSION_TIMEOUT"));
        match text.parse().map(Duration::from_secs) {
            Err(_) => wrong(&format!("Invalid session timeout: '{text}'")),
            Ok(timeout) if timeout > TIMEOUT_MAX => {
                let most = TIMEOUT_MAX.as_secs();
                wrong(&format!(
                    "Session timeout '{text}' is larger than max_session_timeout: {most}. Maximum session timeout could be modified in configuration file"
                ))
            }
            Ok(timeout) => Ok(timeout),
        }
    }
}

/// A session; its connection is missing while a request uses it.
#[derive(Debug)]
struct Session {
    connection: Option<Connection>,
    until: Instant,
}

type Key = (String, String);

/// All sessions, by user and name.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_key: Mutex<HashMap<Key, Session>>,
    clock: fn() -> Instant,
}

/// A connection for one request; it goes back to its session, if it has one.
#[derive(Debug)]
pub(crate) struct SessionConnection<'s> {
    connection: Option<Connection>,
    session: Option<SessionLease<'s>>,
}

#[derive(Debug)]
struct SessionLease<'s> {
    sessions: &'s Sessions,
    key: Key,
    timeout: Duration,
    close: bool,
}

impl Sessions {
    /// No sessions yet.
    pub(crate) fn new(clock: fn() -> Instant) -> Self {
        Self { by_key: Mutex::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.by_key.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the session for one request, or begins it with what `open` gives.
    ///
    /// # Errors
    /// `SESSION_IS_LOCKED` (373), `SESSION_NOT_FOUND` (372), `INVALID_SESSION_TIMEOUT` (374),
    /// and those of `open`.
    pub(crate) fn take<'s>(
        &'s self,
        user: &str,
        request: &SessionRequest,
        open: impl FnOnce() -> Result<Connection, Exception>,
    ) -> Result<SessionConnection<'s>, Exception> {
        let timeout = request.timeout()?;
        let key = (user.to_owned(), request.id.clone());
        let now = (self.clock)();
        let mut by_key = self.lock();
        by_key.retain(|_, session| session.connection.is_none() || session.until > now);
        let connection = match by_key.get_mut(&key) {
            Some(session) => session.connection.take().ok_or_else(|| locked(&request.id))?,
            None if request.check => return Err(missing(&request.id)),
            None => {
                let connection = open()?;
                by_key.insert(key.clone(), Session { connection: None, until: now });
                connection
            }
        };
        drop(by_key);
        let session = SessionLease { sessions: self, key, timeout, close: request.close };
        Ok(SessionConnection { connection: Some(connection), session: Some(session) })
    }
}

fn locked(id: &str) -> Exception {
    let text = format!("Session {id} is locked by a concurrent client");
    Exception::new(373, &text, "SESSION_IS_LOCKED")
}

fn missing(id: &str) -> Exception {
    Exception::new(372, &format!("Session {id} not found"), "SESSION_NOT_FOUND")
}

impl SessionConnection<'_> {
    /// A connection of this request alone.
    pub(crate) fn without_session(connection: Connection) -> Self {
        Self { connection: Some(connection), session: None }
    }

    /// Whether it goes on after the request.
    pub(crate) fn is_session(&self) -> bool {
        self.session.is_some()
    }
}

impl Deref for SessionConnection<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "it is there until `drop`")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("the connection is there until `drop`")
    }
}

impl DerefMut for SessionConnection<'_> {
    #[expect(clippy::expect_used, reason = "it is there until `drop`")]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("the connection is there until `drop`")
    }
}

impl Drop for SessionConnection<'_> {
    fn drop(&mut self) {
        let Some(SessionLease { sessions, key, timeout, close, .. }) = self.session.take() else {
            return;
        };
        let until = (sessions.clock)() + timeout;
        let mut by_key = sessions.lock();
        if close || std::thread::panicking() {
            by_key.remove(&key);
        } else if let Some(session) = by_key.get_mut(&key) {
            *session = Session { connection: self.connection.take(), until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_its_default_and_its_bound() {
        let request = |text: Option<&str>| SessionRequest {
            timeout: text.map(str::to_owned),
            ..SessionRequest::default()
        };
        assert_eq!(request(None).timeout().unwrap(), TIMEOUT);
        assert_eq!(request(Some("5")).timeout().unwrap(), Duration::from_secs(5));
        for text in ["", "-1", "x", "3601"] {
            assert_eq!(request(Some(text)).timeout().unwrap_err().code, 374, "{text}");
        }
    }
}
