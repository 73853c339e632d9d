//! Keeps the smallest few of many items, which are offered in any order.

use std::collections::BTreeSet;

/// How many examples of each finding a report names.
const EXAMPLES_MAX: usize = 20;

/// The smallest of the items that were offered.
#[derive(Debug)]
pub struct Examples<T>(BTreeSet<T>);

impl<T> Default for Examples<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> Examples<T> {
    /// Keeps `item`, unless enough smaller items are kept.
    pub fn offer(&mut self, item: T) {
        self.0.insert(item);
        if self.0.len() > EXAMPLES_MAX {
            self.0.pop_last();
        }
    }

    /// Removes the items that `is_removed` selects.
    pub fn remove(&mut self, is_removed: impl Fn(&T) -> bool) {
        self.0.retain(|item| !is_removed(item));
    }

    /// The items, the smallest one first.
    pub fn into_items(self) -> impl Iterator<Item = T> {
        self.0.into_iter()
    }

    /// The texts by which a report names them.
    pub fn texts(&self, text: impl Fn(&T) -> String) -> Vec<String> {
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_items_are_kept() {
        let mut examples = Examples::default();
        (0..1000).rev().for_each(|n| examples.offer(n));
        let kept: Vec<String> = (0..20).map(|n: i32| n.to_string()).collect();
        assert_eq!(examples.texts(i32::to_string), kept);
        examples.remove(|n| *n < 18);
        assert_eq!(examples.into_items().collect::<Vec<_>>(), [18, 19]);
    }
}
