//! The check of the store against the topic: finds links that are behind, with an older version, or with
//! the same version and other content.
//!
//! A store is behind if it was restored or created again, or if another program writes to the topic. The
//! check compares the links that the follower reports, and after a start all links. A link that is behind
//! is not published for that reason: only changes are published, and links whose newest version a late
//! request has replaced in the topic.

use std::collections::BTreeMap;

use crate::links::link_entry::{LinkEntry, next_version};
use crate::links::link_table::LinkTable;
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::topic_reports::Reports;
use crate::links::topic_versions::TopicVersions as _;

/// Links to compare at once.
const PAGE: u32 = 1000;
/// Most links that are behind and kept by id.
const BEHIND_MAX: usize = 1000;
/// Most links that are noted as published once more.
const REQUEUED_MAX: usize = 10_000;

/// Two versions of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Versions {
    store: i64,
    topic: i64,
}

/// The progress of the comparison of all links.
#[derive(Debug, Default, PartialEq, Eq)]
enum Scan {
    /// It starts when the table is loaded.
    #[default]
    Due,
    /// It continues after this id.
    After(String),
    Done,
}

/// The action for a superseded version that is the last one in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settlement {
    Nothing,
    /// Publish the link in the version of the store.
    Queue,
    /// Publish it with its next version.
    Raise,
}

/// The comparison of one store with the topic.
#[derive(Debug, Default)]
pub struct StoreCheck {
    behind: BTreeMap<String, Versions>,
    /// Whether more links are behind than are kept.
    more: bool,
    scan: Scan,
    /// Versions that were published once more; none is published a third time.
    requeued: BTreeMap<String, i64>,
}

impl StoreCheck {
    /// Compares all links again, since the store may be another one.
    pub fn restart(&mut self) {
        self.scan = Scan::Due;
    }

    /// Notes that a link is no longer behind: a change has given it the version after the topic's.
    pub fn remove(&mut self, id: &str) {
        self.behind.remove(id);
        if self.more && self.behind.is_empty() {
            self.restart();
        }
    }

    /// How many links are behind; the count stops at a thousand.
    pub fn count(&self) -> usize {
        self.behind.len()
    }

    /// The problem for the health probe.
    pub fn problem(&self) -> Option<String> {
        let (id, Versions { store, topic }) = self.behind.first_key_value()?;
        let more = if self.more { " or more" } else { "" };
        Some(format!(
            "links_behind: the topic has later versions of {}{more} links than the store, such as \
             {id:?} (store {store}, topic {topic})",
            self.count()
        ))
    }

    /// Compares the links that the follower reported, and queues those whose newest version a superseded one
    /// has replaced in the topic.
    ///
    /// # Errors
    /// [`StoreError`]; the same reports can be settled again.
    pub fn settle(
        &mut self,
        store: &mut Store,
        table: &LinkTable,
        reports: &Reports,
    ) -> Result<(), StoreError> {
        if reports.all() {
            self.restart();
        }
        let ids: Vec<_> = reports.ids().into_iter().collect();
        for some in ids.chunks(PAGE as usize) {
            for entry in store.entries(some)? {
                let topic = table.superseding(&entry);
                let settlement = match reports.superseded(&entry.id) {
                    Some(version) => self.settlement(version, &entry, topic),
                    None => Settlement::Nothing,
                };
                match settlement {
                    Settlement::Nothing => self.note(&entry, topic),
                    Settlement::Queue => {
                        store.queue(&entry.id)?;
                        self.remember(&entry);
                    }
                    Settlement::Raise => store.raise(&entry)?,
                }
            }
        }
        Ok(())
    }

    /// Compares the next page of all links; false when none is left.
    ///
    /// # Errors
    /// [`StoreError`]; the next call starts with the same page.
    pub fn compare_page(
        &mut self,
        store: &mut Store,
        table: &LinkTable,
    ) -> Result<bool, StoreError> {
        let after = match &self.scan {
            Scan::Done => return Ok(false),
            Scan::Due => {
                (self.behind, self.more) = (BTreeMap::new(), false);
                ""
            }
            Scan::After(id) => id.as_str(),
        };
        let page = store.page_all(after, PAGE)?;
        self.scan = match page.last() {
            Some(last) if page.len() == PAGE as usize => Scan::After(last.id.clone()),
            Some(_) | None => Scan::Done,
        };
        for entry in &page {
            self.note(entry, table.superseding(entry));
        }
        Ok(self.scan != Scan::Done)
    }

    /// The action after the superseded version `version` came last in the topic. `topic` is the version of
    /// the topic, if that supersedes the entry.
    fn settlement(&self, version: i64, entry: &LinkEntry, topic: Option<i64>) -> Settlement {
        match (version.cmp(&entry.version), topic) {
            // A late request: the newest version must come after it in the topic.
            (std::cmp::Ordering::Less, None) => {
                if self.requeued.get(&entry.id) == Some(&entry.version) {
                    Settlement::Raise
                } else {
                    Settlement::Queue
                }
            }
            // The version of the store itself: a change that no follower applied. It gets a later version
            // before it is published.
            (std::cmp::Ordering::Equal, Some(topic)) if next_version(topic).is_some() => {
                Settlement::Queue
            }
            (
                std::cmp::Ordering::Less | std::cmp::Ordering::Equal | std::cmp::Ordering::Greater,
                _,
            ) => Settlement::Nothing,
        }
    }

    fn remember(&mut self, entry: &LinkEntry) {
        if self.requeued.len() >= REQUEUED_MAX {
            self.requeued.clear();
        }
        self.requeued.insert(entry.id.clone(), entry.version);
    }

    fn note(&mut self, entry: &LinkEntry, topic: Option<i64>) {
        match topic {
            None => self.remove(&entry.id),
            Some(topic)
                if self.behind.len() < BEHIND_MAX || self.behind.contains_key(&entry.id) =>
            {
                let versions = Versions { store: entry.version, topic };
                self.behind.insert(entry.id.clone(), versions);
            }
            Some(_) => self.more = true,
        }
    }
}
