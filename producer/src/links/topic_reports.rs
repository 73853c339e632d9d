//! The reports of the follower to the publisher: links of the topic to compare with the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::links::link::Link;
use crate::links::link_table::{Applied, LinkTable};
use service::lock::lock;

/// Most links of each kind in memory (10 MiB with the longest ids). For more, all links of the store are
/// compared.
const LINKS_MAX: usize = 10_000;

/// Links to compare with the store, by their ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reports {
    newer: BTreeSet<String>,
    superseded: BTreeMap<String, i64>,
    all: bool,
}

impl Reports {
    /// Applies a link of the topic to the table, and notes it for the comparison with the store. `live` says
    /// that the record is newer than the start, so that the store may lack its change.
    pub fn apply(&mut self, table: &LinkTable, link: &Link, live: bool) -> Applied {
        let applied = table.apply(link.clone());
        match applied {
            Applied::Newer if live => self.add_newer(link.id().to_owned()),
            Applied::Newer | Applied::Same => _ = self.superseded.remove(link.id()),
            Applied::Older | Applied::Differs => {
                self.add_superseded(link.id().to_owned(), link.version());
            }
        }
        applied
    }

    /// Whether all links of the store are to be compared.
    pub fn all(&self) -> bool {
        self.all
    }

    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        !self.all && self.newer.is_empty() && self.superseded.is_empty()
    }

    /// The links to compare.
    pub fn ids(&self) -> BTreeSet<&str> {
        self.newer.iter().chain(self.superseded.keys()).map(String::as_str).collect()
    }

    /// The superseded version of this link, if it came last in the topic. Compaction would keep only this
    /// version.
    pub fn superseded(&self, id: &str) -> Option<i64> {
        self.superseded.get(id).copied()
    }

    /// Appends later reports.
    pub fn append(&mut self, later: Self) {
        self.all |= later.all;
        later.newer.into_iter().for_each(|id| self.add_newer(id));
        later.superseded.into_iter().for_each(|(id, version)| self.add_superseded(id, version));
    }

    fn add_newer(&mut self, id: String) {
        self.superseded.remove(&id);
        if self.newer.len() < LINKS_MAX || self.newer.contains(&id) {
            self.newer.insert(id);
        } else {
            self.all = true;
        }
    }

    fn add_superseded(&mut self, id: String, version: i64) {
        if self.superseded.len() < LINKS_MAX || self.superseded.contains_key(&id) {
            self.superseded.insert(id, version);
        } else {
            self.all = true;
        }
    }
}

/// The queue of reports from the follower to the publisher. Neither waits for the other.
#[derive(Debug, Default)]
pub struct TopicReports(Mutex<Reports>);

impl TopicReports {
    /// Passes on the reports of the follower, and leaves them empty.
    pub fn pass(&self, reports: &mut Reports) {
        lock(&self.0).append(std::mem::take(reports));
    }

    /// Takes all reports that were passed on.
    pub fn take(&self) -> Reports {
        std::mem::take(&mut *lock(&self.0))
    }

    /// Puts reports back before later ones, since they could not be compared.
    pub fn put_back(&self, mut reports: Reports) {
        let mut held = lock(&self.0);
        reports.append(std::mem::take(&mut *held));
        *held = reports;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::link_entry::LinkEntry;

    fn link(slug: &str, version: i64) -> Link {
        let line = format!(r#"{{"slug":"{slug}","url":"http://x/{version}","version":{version}}}"#);
        Link::of(&LinkEntry::parse(&line).unwrap()).unwrap()
    }

    #[test]
    fn h11_a_superseded_version_is_reported_only_while_it_is_the_last_one_in_the_topic() {
        let (table, mut reports) = (LinkTable::default(), Reports::default());
        for (version, live, superseded) in [
            (1, false, None),
            (3, false, None),
            (2, false, Some(2)),
            (3, false, None),
            (1, true, Some(1)),
            (2, true, Some(2)),
            (4, true, None),
        ] {
            reports.apply(&table, &link("a", version), live);
            assert_eq!(reports.superseded("a"), superseded, "{version}");
        }
        assert_eq!(reports.ids().into_iter().collect::<Vec<_>>(), ["a"], "it became newer");
    }

    #[test]
    fn h11_more_reports_than_memory_has_room_for_ask_for_a_comparison_of_all() {
        let (table, mut reports) = (LinkTable::default(), Reports::default());
        for number in 0..=LINKS_MAX {
            reports.apply(&table, &link(&format!("s{number}"), 2), true);
        }
        assert!(reports.all() && reports.ids().len() == LINKS_MAX);
        let (passed, mut late) = (TopicReports::default(), Reports::default());
        passed.pass(&mut reports);
        assert!(reports.is_empty());
        for number in 0..=LINKS_MAX {
            late.apply(&table, &link(&format!("s{number}"), 1), true);
        }
        passed.pass(&mut late);
        let taken = passed.take();
        assert!(taken.all() && taken.ids().len() <= 2 * LINKS_MAX && passed.take().is_empty());
    }
}
