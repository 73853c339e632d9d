//! Which links of the store are behind the topic: of an older version, or of the same one with other
//! content.
//!
//! A store that was restored or remade is behind, and one to whose topic another program writes. What
//! the follower reports is compared, and after a start all links. Nothing is published for being
//! behind: only a change is, and what a late request has turned back.

use std::collections::BTreeMap;

use crate::links::link_entry::{LinkEntry, next_version};
use crate::links::link_table::LinkTable;
use crate::links::store::Store;
use crate::links::store::error::StoreError;
use crate::links::topic_reports::Reports;
use crate::links::topic_versions::TopicVersions as _;

/// Links compared at once.
const PAGE: u32 = 1000;
/// Most links that are known by name to be behind.
const BEHIND_MAX: usize = 1000;
/// Most links of which it is remembered that they were published once more.
const REQUEUED_MAX: usize = 10_000;

/// Two versions of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Versions {
    store: i64,
    topic: i64,
}

/// How far the comparison of all links is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Scan {
    /// It begins when the table is loaded.
    #[default]
    Due,
    /// It goes on after this id.
    After(String),
    Done,
}

/// What to do about a superseded version that came last in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settlement {
    Nothing,
    /// Publish the link as it is in the store.
    Queue,
    /// Publish it with its next version.
    Raise,
}

/// The comparison of one store with the topic.
#[derive(Debug, Default)]
pub struct StoreCheck {
    behind: BTreeMap<String, Versions>,
    /// More links are behind than are kept.
    more: bool,
    scan: Scan,
    /// Versions that were published once more: none is a second time.
    requeued: BTreeMap<String, i64>,
}

impl StoreCheck {
    /// Compares all links again: the store may be another one.
    pub fn restart(&mut self) {
        self.scan = Scan::Due;
    }

    /// A link that is behind was changed, and has the next version of the topic now.
    pub fn remove(&mut self, id: &str) {
        self.behind.remove(id);
        if self.more && self.behind.is_empty() {
            self.restart();
        }
    }

    /// How many links are behind; beyond a thousand the rest is not counted.
    pub fn count(&self) -> usize {
        self.behind.len()
    }

    /// What the health probe reports.
    pub fn problem(&self) -> Option<String> {
        let (id, Versions { store, topic }) = self.behind.first_key_value()?;
        let more = if self.more { " or more" } else { "" };
        Some(format!(
            "links_behind: the topic has later versions of {}{more} links than the store, such as \
             {id:?} (store {store}, topic {topic})",
            self.count()
        ))
    }

    /// Compares what the follower reported, and queues what a superseded version has turned back.
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
    /// [`StoreError`]; the next call begins with the same page.
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

    /// A superseded version came last in the topic, which is in `topic` if that supersedes the entry.
    fn settlement(&self, version: i64, entry: &LinkEntry, topic: Option<i64>) -> Settlement {
        match (version.cmp(&entry.version), topic) {
            // A late request: the newest version has to stand behind it.
            (std::cmp::Ordering::Less, None) => {
                if self.requeued.get(&entry.id) == Some(&entry.version) {
                    Settlement::Raise
                } else {
                    Settlement::Queue
                }
            }
            // The version of the store itself: a change that no follower took. It is raised before it is
            // published.
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
