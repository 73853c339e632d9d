//! Which version of the topic of links supersedes an entry of the store.

use crate::links::link_entry::LinkEntry;

/// Knows versions of the topic, as a link table does that follows it.
pub trait TopicVersions {
    /// The version that supersedes an entry: a newer one, or the same one with other content. None where
    /// followers take the entry, or have it already.
    fn superseding(&self, entry: &LinkEntry) -> Option<i64>;
}

/// Knows nothing of the topic, as the command line does.
#[derive(Debug, Clone, Copy)]
pub struct UnknownTopic;

impl TopicVersions for UnknownTopic {
    fn superseding(&self, _entry: &LinkEntry) -> Option<i64> {
        None
    }
}
