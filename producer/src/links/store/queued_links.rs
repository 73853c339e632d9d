//! Separates queued links that the topic has superseded from the others.
//!
//! Pure. A superseded link is not published in its version, which followers would ignore. It first gets the
//! version after the topic's, and is then published with that one.

use crate::links::link_entry::{LinkEntry, next_version};
use crate::links::topic_versions::TopicVersions;

/// Links that wait to be published.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct QueuedLinks {
    /// Links to publish now.
    pub(super) ready: Vec<LinkEntry>,
    /// Links to write with the version that they have here, and to publish after that.
    pub(super) raised: Vec<LinkEntry>,
}

/// The result of one call that publishes links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Number of published links.
    pub links: usize,
    /// Links that got a later version, because the topic had superseded theirs; they still wait.
    pub raised: Vec<LinkEntry>,
}

impl QueuedLinks {
    /// Separates waiting links. A link that the topic has in the last possible version gets no later one; it
    /// is published once, in its version.
    pub(super) fn new(entries: Vec<LinkEntry>, topic: &dyn TopicVersions) -> Self {
        let mut queued = Self::default();
        for entry in entries {
            match topic.superseding(&entry).and_then(next_version) {
                Some(version) => queued.raised.push(LinkEntry { version, ..entry }),
                None => queued.ready.push(entry),
            }
        }
        queued
    }
}

#[cfg(test)]
mod tests {
    use schemas::LINK_VERSION_MAX;

    use super::*;

    /// Has each link in this version.
    struct Has(i64);

    impl TopicVersions for Has {
        fn superseding(&self, entry: &LinkEntry) -> Option<i64> {
            (self.0 >= entry.version).then_some(self.0)
        }
    }

    #[test]
    fn h11_a_superseded_link_gets_the_version_after_the_topics_unless_that_was_the_last() {
        let entry = |version| {
            let line = format!(r#"{{"slug":"a","url":"http://x/","version":{version}}}"#);
            LinkEntry::parse(&line).unwrap()
        };
        for (own, topic, raised) in [
            (2, 1, None),
            (2, 2, Some(3)),
            (2, 1000, Some(1001)),
            (2, LINK_VERSION_MAX - 1, Some(LINK_VERSION_MAX)),
            (2, LINK_VERSION_MAX, None),
            (2, i64::MAX, None),
            (LINK_VERSION_MAX, LINK_VERSION_MAX, None),
        ] {
            let queued = QueuedLinks::new(vec![entry(own)], &Has(topic));
            let versions = |all: &[LinkEntry]| all.iter().map(|e| e.version).collect::<Vec<_>>();
            let expected: Vec<_> = raised.into_iter().collect();
            assert_eq!(versions(&queued.raised), expected, "{own} {topic}");
            assert_eq!(queued.ready.len(), 1 - expected.len(), "{own} {topic}");
        }
    }
}
