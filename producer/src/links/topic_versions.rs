//! The versions of links in the topic, which may supersede entries of the store.

use crate::links::link_entry::LinkEntry;

/// Knows the versions of the topic, such as a link table that follows it.
pub trait TopicVersions {
    /// The version that supersedes an entry: a newer one, or the same one with other content. `None` if
    /// followers apply the entry, or have it already.
    fn superseding(&self, entry: &LinkEntry) -> Option<i64>;
}

/// Knows no version of the topic, as in a command.
#[derive(Debug, Clone, Copy)]
pub struct UnknownTopic;

impl TopicVersions for UnknownTopic {
    fn superseding(&self, _entry: &LinkEntry) -> Option<i64> {
        None
    }
}
