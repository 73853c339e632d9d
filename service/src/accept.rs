//! The accept loop of every port: bounds the open connections of the port and of each client.
//!
//! A port without a free slot closes the connection that is idle longest. The loop reports failures to
//! accept and closed connections to the port, which counts them, and logs them once a minute.
#![expect(clippy::disallowed_methods, reason = "measures how old and how idle connections are")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::client_prefix::ClientPrefix;
use crate::connection_table::{Activity, ConnectionBounds, ConnectionTable, Opened, Room};
use crate::lock::lock;
use crate::number::millis;

/// Pause after a failure (most likely no free descriptor), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for a slot before the loop checks the connections again.
const SLOT_WAIT: Duration = Duration::from_millis(50);
/// Time between two checks for connections that have reached their age.
const AGE_CHECK: Duration = Duration::from_secs(1);
/// Shortest time between two log lines of one kind.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A port and the limits of its connections.
#[derive(Debug)]
pub struct AcceptParts<C, R> {
    /// Where connections come from.
    pub listener: TcpListener,
    /// Names the port in logs.
    pub port: &'static str,
    /// Bounds of its connections.
    pub bounds: ConnectionBounds,
    /// The client to whose share a connection from this address counts, if to any.
    pub client: C,
    /// Called for each connection that a limit closed or refused.
    pub report: R,
}

/// The limit that closed or refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// The connections of the port.
    Connections,
    /// The connections of one client.
    ClientConnections,
    /// The file descriptors of the process or the system.
    Descriptors,
    /// Another failure to accept.
    Accept,
}

impl ConnectionLimit {
    /// Stable name: metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ClientConnections => "client_connections",
            Self::Descriptors => "descriptors",
            Self::Accept => "accept",
        }
    }
}

/// An open connection; dropping `slot` frees its slot.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Its slot among the open connections.
    pub slot: ConnectionSlot,
}

/// The slot of one open connection.
#[derive(Debug)]
pub struct ConnectionSlot {
    id: u64,
    port: Arc<OpenConnections>,
    progress: Progress,
    closed: oneshot::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlot {
    /// A handle that notes the connection's progress.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Resolves when the connection is to be closed at once.
    pub async fn closed(&mut self) {
        // The sender is dropped without a message only together with the slot.
        let _closed = (&mut self.closed).await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        lock(&self.port.table).remove(self.id);
    }
}

/// Notes the progress of one connection.
#[derive(Debug, Clone)]
pub struct Progress {
    activity: Arc<Activity>,
    started: Instant,
}

impl Progress {
    /// Notes that the client sent or received bytes.
    pub fn touch(&self) {
        self.activity.touch(millis(self.started.elapsed()));
    }

    /// Whether the connection is to end with its next answer.
    pub fn is_aged(&self) -> bool {
        self.activity.is_aged()
    }

    /// The progress of a connection without a port, for tests.
    #[cfg(test)]
    pub(crate) fn unobserved() -> Self {
        Self { activity: Arc::default(), started: Instant::now() }
    }

    /// While the guard lives, this process works for the connection, which is not idle then.
    pub fn work(&self) -> Work {
        self.activity.begin_work();
        Work(self.clone())
    }
}

/// Work for one connection.
#[derive(Debug)]
pub struct Work(Progress);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.activity.end_work(millis(self.0.started.elapsed()));
    }
}

/// The connections of one port.
#[derive(Debug)]
struct OpenConnections {
    table: Mutex<ConnectionTable>,
    /// Counts sockets: a closed one holds its permit until its task has ended.
    permits: Arc<Semaphore>,
    started: Instant,
}

/// Accepts connections until `shutdown`, within the bounds, and hands each to `serve`, which must
/// not block.
///
/// # Errors
/// The error of `serve`; after a failure to accept, the loop logs it and tries again.
pub async fn run<C, R>(
    parts: AcceptParts<C, R>,
    shutdown: CancellationToken,
    mut serve: impl FnMut(Accepted) -> io::Result<()>,
) -> io::Result<()>
where
    C: Fn(IpAddr) -> Option<ClientPrefix>,
    R: Fn(ConnectionLimit),
{
    let AcceptParts { listener, port, bounds, client, report } = parts;
    let connections = Arc::new(OpenConnections::new(bounds));
    let (mut failures, mut sheds) = (LogEveryMinute::default(), LogEveryMinute::default());
    let mut age_check = interval(AGE_CHECK);
    age_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = age_check.tick() => {
                lock(&connections.table).end_aged(millis(connections.started.elapsed()));
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let limit = limit(&error);
                report(limit);
                if let Some(times) = failures.due() {
                    tracing::warn!(port, %error, times, "cannot accept a connection");
                }
                if limit == ConnectionLimit::Descriptors {
                    lock(&connections.table).shed_longest_idle();
                }
                if !is_of_one_connection(&error) {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let prefix = client(peer.ip());
        let on_shed = |limit: ConnectionLimit| {
            report(limit);
            if let Some(times) = sheds.due() {
                let limit = limit.as_str();
                tracing::warn!(port, limit, times, "closed an idle connection for a new one");
            }
        };
        let admitted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            admitted = connections.admit(prefix, on_shed) => admitted,
        };
        if let Some(slot) = admitted {
            serve(Accepted { stream, peer, slot })?;
        }
    }
}

impl OpenConnections {
    fn new(bounds: ConnectionBounds) -> Self {
        Self {
            table: Mutex::new(ConnectionTable::new(bounds)),
            permits: Arc::new(Semaphore::new(bounds.connections)),
            started: Instant::now(),
        }
    }

    /// The slot of a new connection; none if its client has its share of connections and this process
    /// works for all of them.
    async fn admit(
        self: &Arc<Self>,
        client: Option<ClientPrefix>,
        mut on_shed: impl FnMut(ConnectionLimit),
    ) -> Option<ConnectionSlot> {
        loop {
            let room = lock(&self.table).make_room(client);
            match room {
                Room::Free | Room::Busy => {}
                Room::Shed => on_shed(ConnectionLimit::Connections),
                Room::ShedOfClient => on_shed(ConnectionLimit::ClientConnections),
                Room::ClientBusy => {
                    on_shed(ConnectionLimit::ClientConnections);
                    return None;
                }
            }
            // A closed connection holds its permit until its task has ended.
            let permit = timeout(SLOT_WAIT, Arc::clone(&self.permits).acquire_owned()).await;
            if let Ok(permit) = permit {
                return Some(self.slot(client, permit.ok()?));
            }
        }
    }

    fn slot(
        self: &Arc<Self>,
        client: Option<ClientPrefix>,
        permit: OwnedSemaphorePermit,
    ) -> ConnectionSlot {
        let opened = lock(&self.table).add(client, millis(self.started.elapsed()));
        let Opened { id, activity, closed } = opened;
        let progress = Progress { activity, started: self.started };
        ConnectionSlot { id, port: Arc::clone(self), progress, closed, _permit: permit }
    }
}

/// The time of the last log line of an event, and how often the event has happened since.
#[derive(Debug, Default)]
struct LogEveryMinute {
    last: Option<Instant>,
    times: u64,
}

impl LogEveryMinute {
    /// Counts one event; returns the number since the last line if another line is due.
    fn due(&mut self) -> Option<u64> {
        self.times += 1;
        if self.last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

fn limit(error: &io::Error) -> ConnectionLimit {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => ConnectionLimit::Descriptors,
        Some(_) | None => ConnectionLimit::Accept,
    }
}

/// Whether a failure concerns one connection only, so that the next may be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionReset, Interrupted].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn h10_a_failure_to_accept_is_logged_once_a_minute_with_its_count() {
        let mut log = LogEveryMinute::default();
        assert_eq!(log.due(), Some(1));
        for _ in 0..600 {
            assert_eq!(log.due(), None);
        }
        tokio::time::advance(LOG_EVERY).await;
        assert_eq!((log.due(), log.due()), (Some(601), None));
    }

    #[test]
    fn h10_a_lack_of_descriptors_is_told_from_other_failures() {
        let of = |errno: Errno| limit(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!(of(Errno::MFILE), ConnectionLimit::Descriptors);
        assert_eq!(of(Errno::NFILE), ConnectionLimit::Descriptors);
        assert_eq!(of(Errno::CONNABORTED), ConnectionLimit::Accept);
    }
}
