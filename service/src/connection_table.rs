//! The open connections of a port; chooses the one that is closed to make room for a new one.
//!
//! Pure: the caller gives the time, in milliseconds since the port's start. When the port or a client
//! has its maximum of connections, the table closes the connection that is idle longest, so one that makes
//! progress comes after all that are idle longer. It never closes a connection for which this process
//! works.
//!
//! A search visits every connection, so it keeps a sixteenth of them as candidates, in order: on average a
//! new connection costs sixteen visits, for any number of open connections.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::client_prefix::ClientPrefix;

/// The part of the connections that a search keeps as candidates.
const CANDIDATES: usize = 16;
/// Searches before it counts as if there were none: candidates may become active meanwhile.
const SEARCHES: usize = 3;

/// Bounds of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// Most open connections.
    pub connections: usize,
    /// Most open connections of one client prefix.
    pub per_client: usize,
    /// Milliseconds after which a connection ends with the answer to its next request.
    pub age_ms: u64,
    /// Milliseconds after that in which it must have ended.
    pub grace_ms: u64,
}

/// The activity of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    last_ms: AtomicU64,
    working: AtomicU32,
    aged: AtomicBool,
}

impl Activity {
    /// Notes that the client sent or received bytes.
    pub fn touch(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Notes that this process begins to work for the connection.
    pub fn begin_work(&self) {
        self.working.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the end of that work.
    pub fn end_work(&self, now_ms: u64) {
        self.touch(now_ms);
        let before = self.working.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "work that ends has begun");
    }

    /// Whether the connection is to end with its next answer.
    pub fn is_aged(&self) -> bool {
        self.aged.load(Ordering::Relaxed)
    }

    /// The start of its idle time; none while this process works for it.
    fn idle_since(&self) -> Option<u64> {
        let idle = self.working.load(Ordering::Relaxed) == 0;
        idle.then(|| self.last_ms.load(Ordering::Relaxed))
    }
}

/// Whether there is room for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There was room.
    Free,
    /// The table closed a connection of the port for it.
    Shed,
    /// The table closed a connection of the same client for it.
    ShedOfClient,
    /// The client has its share of connections, and this process works for each of them.
    ClientBusy,
    /// This process works for each connection.
    Busy,
}

/// A connection that was added.
#[derive(Debug)]
pub struct Opened {
    /// Names it.
    pub id: u64,
    /// Its activity.
    pub activity: Arc<Activity>,
    /// Resolves when it is to be closed at once.
    pub closed: oneshot::Receiver<()>,
}

/// The open connections of one port.
#[derive(Debug)]
pub struct ConnectionTable {
    bounds: ConnectionBounds,
    next: u64,
    open: HashMap<u64, Entry>,
    clients: HashMap<ClientPrefix, Client>,
    candidates: Candidates,
}

#[derive(Debug)]
struct Entry {
    client: Option<ClientPrefix>,
    opened_ms: u64,
    activity: Arc<Activity>,
    close: oneshot::Sender<()>,
}

/// The connections of one client.
#[derive(Debug, Default)]
struct Client {
    members: HashSet<u64>,
    candidates: Candidates,
}

/// The connections that were idle longest, in order, each with the start of its idle time.
#[derive(Debug, Default)]
struct Candidates(VecDeque<(u64, u64)>);

impl ConnectionTable {
    /// A table without connections.
    pub fn new(bounds: ConnectionBounds) -> Self {
        assert!(bounds.connections > 0 && bounds.per_client > 0, "a port takes connections");
        let (open, clients) = (HashMap::new(), HashMap::new());
        Self { bounds, next: 0, open, clients, candidates: Candidates::default() }
    }

    /// Closes a connection if there is no room for one more of this client; without a client only
    /// the port's bound counts.
    pub fn make_room(&mut self, client: Option<ClientPrefix>) -> Room {
        let full = |it: &&mut Client| it.members.len() >= self.bounds.per_client;
        if let Some(client) = client.and_then(|it| self.clients.get_mut(&it)).filter(full) {
            let Client { members, candidates } = client;
            let members = members.iter().copied();
            return match candidates.longest_idle(&self.open, members) {
                Some(id) => self.shed(id, Room::ShedOfClient),
                None => Room::ClientBusy,
            };
        }
        if self.open.len() < self.bounds.connections {
            return Room::Free;
        }
        self.shed_longest_idle()
    }

    /// Closes the connection that is idle longest.
    pub fn shed_longest_idle(&mut self) -> Room {
        let all = self.open.keys().copied();
        match self.candidates.longest_idle(&self.open, all) {
            Some(id) => self.shed(id, Room::Shed),
            None => Room::Busy,
        }
    }

    /// Adds a connection.
    pub fn add(&mut self, client: Option<ClientPrefix>, now_ms: u64) -> Opened {
        let id = self.next;
        self.next += 1;
        let activity = Arc::new(Activity::default());
        activity.touch(now_ms);
        let (close, closed) = oneshot::channel();
        let entry = Entry { client, opened_ms: now_ms, activity: Arc::clone(&activity), close };
        self.open.insert(id, entry);
        if let Some(client) = client {
            self.clients.entry(client).or_default().members.insert(id);
        }
        Opened { id, activity, closed }
    }

    /// Removes a connection that has ended; one that was closed for another is already removed.
    pub fn remove(&mut self, id: u64) {
        drop(self.take(id));
    }

    /// Ends the connections that have reached their age; returns how many were closed at once.
    pub fn end_aged(&mut self, now_ms: u64) -> usize {
        let ConnectionBounds { age_ms, grace_ms, .. } = self.bounds;
        let mut overdue = Vec::new();
        for (id, entry) in &self.open {
            let age = now_ms.saturating_sub(entry.opened_ms);
            if age >= age_ms {
                entry.activity.aged.store(true, Ordering::Relaxed);
            }
            if age >= age_ms.saturating_add(grace_ms) {
                overdue.push(*id);
            }
        }
        for id in &overdue {
            self.shed(*id, Room::Shed);
        }
        overdue.len()
    }

    fn shed(&mut self, id: u64, room: Room) -> Room {
        if let Some(entry) = self.take(id) {
            // A dropped receiver belongs to a connection that is ending by itself.
            let _closing = entry.close.send(());
        }
        room
    }

    fn take(&mut self, id: u64) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        if let Some(prefix) = entry.client
            && let Some(client) = self.clients.get_mut(&prefix)
        {
            client.members.remove(&id);
            if client.members.is_empty() {
                self.clients.remove(&prefix);
            }
        }
        Some(entry)
    }
}

impl Candidates {
    /// The member that is idle longest; none if this process works for all of them.
    fn longest_idle(
        &mut self,
        open: &HashMap<u64, Entry>,
        members: impl Iterator<Item = u64> + Clone,
    ) -> Option<u64> {
        let idle_since = |id: u64| open.get(&id).and_then(|entry| entry.activity.idle_since());
        for _ in 0..SEARCHES {
            while let Some((since, id)) = self.0.pop_front() {
                // A connection that has been active since the search is no longer a candidate.
                if idle_since(id) == Some(since) {
                    return Some(id);
                }
            }
            let mut idle: Vec<_> =
                members.clone().filter_map(|id| Some((idle_since(id)?, id))).collect();
            let kept = (idle.len() / CANDIDATES).max(1);
            if kept < idle.len() {
                idle.select_nth_unstable(kept);
                idle.truncate(kept);
            }
            idle.sort_unstable();
            self.0 = idle.into();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ConnectionBounds =
        ConnectionBounds { connections: 4, per_client: 2, age_ms: 1_000, grace_ms: 500 };

    fn client(last: u8) -> Option<ClientPrefix> {
        Some(ClientPrefix::of([192, 0, 2, last].into()))
    }

    fn is_closed(opened: &mut Opened) -> bool {
        opened.closed.try_recv().is_ok()
    }

    #[test]
    fn h9_the_connection_that_is_idle_longest_makes_room() {
        let mut table = ConnectionTable::new(BOUNDS);
        let mut open: Vec<_> = (0..4).map(|n| table.add(client(n), n.into())).collect();
        // The oldest one makes progress all the time.
        for now in 10..20 {
            open[0].activity.touch(now);
        }
        assert_eq!(table.make_room(client(9)), Room::Shed);
        let closed: Vec<_> = open.iter_mut().map(is_closed).collect();
        assert_eq!(closed, [false, true, false, false]);
        table.add(client(9), 21);
        // A candidate that became active meanwhile is no longer one.
        open[2].activity.touch(30);
        assert_eq!(table.make_room(client(9)), Room::Shed);
        assert!(is_closed(&mut open[3]) && !is_closed(&mut open[2]));
    }

    #[test]
    fn h9_a_client_with_its_share_loses_its_own_connection_and_no_other() {
        let mut table = ConnectionTable::new(BOUNDS);
        let mut other = table.add(client(1), 0);
        let mut own: Vec<_> = (0..2).map(|n| table.add(client(2), 10 + n)).collect();
        for _ in 0..50 {
            assert_eq!(table.make_room(client(2)), Room::ShedOfClient);
            own.push(table.add(client(2), 20));
        }
        assert!(!is_closed(&mut other) && is_closed(&mut own[0]));
        assert_eq!(own.iter_mut().skip(1).filter_map(|it| it.closed.try_recv().ok()).count(), 49);
        assert_eq!(table.open.len(), 3);
        // A client whose connections are not counted, such as a trusted proxy, has no share.
        assert_eq!(table.make_room(None), Room::Free);
    }

    #[test]
    fn h9_no_connection_is_closed_while_this_process_works_for_it() {
        let bounds = ConnectionBounds { connections: 2, ..BOUNDS };
        let mut table = ConnectionTable::new(bounds);
        let mut open: Vec<_> = (0..2).map(|n| table.add(client(1), n)).collect();
        open.iter().for_each(|it| it.activity.begin_work());
        assert_eq!(
            (table.make_room(client(2)), table.make_room(client(1))),
            (Room::Busy, Room::ClientBusy)
        );
        open[1].activity.end_work(7);
        assert_eq!(table.make_room(client(2)), Room::Shed);
        assert!(!is_closed(&mut open[0]) && is_closed(&mut open[1]));
        assert_eq!(table.make_room(client(2)), Room::Free);
    }

    #[test]
    fn h9_ten_thousand_connections_are_closed_in_the_order_of_their_activity() {
        let bounds = ConnectionBounds { connections: 10_000, per_client: 10_000, ..BOUNDS };
        let mut table = ConnectionTable::new(bounds);
        let mut open: Vec<_> = (0..10_000).map(|n| table.add(client(1), n)).collect();
        for oldest in open.iter_mut().take(5_000) {
            assert_eq!(table.make_room(client(2)), Room::Shed);
            assert!(is_closed(oldest), "{oldest:?}");
            table.add(client(2), 20_000);
        }
    }

    #[test]
    fn l2_a_connection_ends_at_its_age_however_active_it_is() {
        let mut table = ConnectionTable::new(BOUNDS);
        let mut opened = table.add(client(1), 100);
        opened.activity.begin_work();
        assert_eq!((table.end_aged(1_099), opened.activity.is_aged()), (0, false));
        assert_eq!((table.end_aged(1_100), opened.activity.is_aged()), (0, true));
        opened.activity.touch(1_599);
        assert_eq!(table.end_aged(1_599), 0);
        assert_eq!(table.end_aged(1_600), 1);
        assert!(is_closed(&mut opened) && table.open.is_empty() && table.clients.is_empty());
    }
}
