//! Sessions (`session_id`): a connection that stays between requests, with its settings,
//! its database and its temporary tables, until nobody has used it for a while.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::engine::Connection;
use crate::exception::Exception;

/// ClickHouse's `default_session_timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);
/// ClickHouse's `max_session_timeout`.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Which session a request wants, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// `session_id`.
    pub(crate) id: String,
    /// `session_timeout` as sent, in seconds.
    pub(crate) timeout: Option<String>,
    /// `session_check`: the session must be there.
    pub(crate) check: bool,
    /// `close_session`: it ends with this request.
    pub(crate) close: bool,
}

impl Wish {
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

/// A session between two requests, or the place of one that is in use.
#[derive(Debug)]
struct Place {
    connection: Option<Connection>,
    until: Instant,
}

type Key = (String, String);

/// All sessions, by user and name.
#[derive(Debug)]
pub(crate) struct Sessions {
    places: Mutex<HashMap<Key, Place>>,
    clock: fn() -> Instant,
}

/// A connection for one request; it goes back to its session, if it has one.
#[derive(Debug)]
pub(crate) struct Line<'s> {
    connection: Option<Connection>,
    session: Option<Held<'s>>,
}

#[derive(Debug)]
struct Held<'s> {
    sessions: &'s Sessions,
    key: Key,
    timeout: Duration,
    close: bool,
}

impl Sessions {
    /// No sessions yet.
    pub(crate) fn new(clock: fn() -> Instant) -> Self {
        Self { places: Mutex::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Place>> {
        self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the session for one request, or begins it with what `open` gives.
    ///
    /// # Errors
    /// `SESSION_IS_LOCKED` (373), `SESSION_NOT_FOUND` (372), `INVALID_SESSION_TIMEOUT` (374),
    /// and those of `open`.
    pub(crate) fn take<'s>(
        &'s self,
        user: &str,
        wish: &Wish,
        open: impl FnOnce() -> Result<Connection, Exception>,
    ) -> Result<Line<'s>, Exception> {
        let timeout = wish.timeout()?;
        let key = (user.to_owned(), wish.id.clone());
        let now = (self.clock)();
        let mut places = self.lock();
        places.retain(|_, place| place.connection.is_none() || place.until > now);
        let connection = match places.get_mut(&key) {
            Some(place) => place.connection.take().ok_or_else(|| locked(&wish.id))?,
            None if wish.check => return Err(missing(&wish.id)),
            None => {
                let connection = open()?;
                places.insert(key.clone(), Place { connection: None, until: now });
                connection
            }
        };
        drop(places);
        let session = Held { sessions: self, key, timeout, close: wish.close };
        Ok(Line { connection: Some(connection), session: Some(session) })
    }
}

fn locked(id: &str) -> Exception {
    let text = format!("Session {id} is locked by a concurrent client");
    Exception::new(373, &text, "SESSION_IS_LOCKED")
}

fn missing(id: &str) -> Exception {
    Exception::new(372, &format!("Session {id} not found"), "SESSION_NOT_FOUND")
}

impl Line<'_> {
    /// A connection of this request alone.
    pub(crate) fn alone(connection: Connection) -> Self {
        Self { connection: Some(connection), session: None }
    }

    /// Whether it goes on after the request.
    pub(crate) fn is_session(&self) -> bool {
        self.session.is_some()
    }
}

impl Deref for Line<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "it is there until `drop`")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a line has its connection")
    }
}

impl DerefMut for Line<'_> {
    #[expect(clippy::expect_used, reason = "it is there until `drop`")]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a line has its connection")
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let Some(Held { sessions, key, timeout, close, .. }) = self.session.take() else { return };
        let until = (sessions.clock)() + timeout;
        let mut places = sessions.lock();
        if close || std::thread::panicking() {
            places.remove(&key);
        } else if let Some(place) = places.get_mut(&key) {
            *place = Place { connection: self.connection.take(), until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_its_default_and_its_bound() {
        let wish =
            |text: Option<&str>| Wish { timeout: text.map(str::to_owned), ..Wish::default() };
        assert_eq!(wish(None).timeout().unwrap(), TIMEOUT);
        assert_eq!(wish(Some("5")).timeout().unwrap(), Duration::from_secs(5));
        for text in ["", "-1", "x", "3601"] {
            assert_eq!(wish(Some(text)).timeout().unwrap_err().code, 374, "{text}");
        }
    }
}
