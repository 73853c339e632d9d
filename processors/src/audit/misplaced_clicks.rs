//! Rows on another shard than the one that their event ids name. Pure.

use crate::audit::entry::{Id, hex};
use crate::audit::examples::Examples;
use crate::shards::shard_layout::ShardLayout;

/// A row on a wrong shard; both are numbers from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct MisplacedClick {
    id: Id,
    shard: usize,
    owner: usize,
}

impl MisplacedClick {
    fn text(&self) -> String {
        let Self { id, shard, owner } = self;
        format!("{} on shard {shard} instead of {owner}", hex(id))
    }
}

/// How many rows are on a wrong shard, and the first of them. `FINAL` chooses among the versions of one shard: the next
/// version of such a click is inserted into its own shard, and both are shown.
#[derive(Debug, Default)]
pub struct MisplacedClicks {
    rows: u64,
    examples: Examples<MisplacedClick>,
}

impl MisplacedClicks {
    /// Adds `rows` rows that `shard` (an index) shows of a click. Returns whether it is the shard of the click.
    pub fn add(&mut self, layout: &ShardLayout, shard: usize, (id, rows): (Id, u64)) -> bool {
        if layout.is_single() {
            return true;
        }
        let owner = layout.owner(&id);
        if owner != shard {
            self.rows += rows;
            self.examples.offer(MisplacedClick { id, shard: shard + 1, owner: owner + 1 });
        }
        owner == shard
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The first of them, as a report names them.
    pub fn texts(&self) -> Vec<String> {
        self.examples.texts(MisplacedClick::text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_on_another_shard_than_its_own_is_named_with_both() {
        let layout = ShardLayout::new(vec![1, 2]);
        let mut found = MisplacedClicks::default();
        let id = [7; 16];
        let owner = layout.owner(&id);
        assert!(found.add(&layout, owner, (id, 1)));
        assert_eq!((found.rows(), found.texts().len()), (0, 0));
        assert!(!found.add(&layout, 1 - owner, (id, 2)));
        let expected = format!(
            "07070707-0707-0707-0707-070707070707 on shard {} instead of {}",
            2 - owner,
            owner + 1
        );
        assert_eq!((found.rows(), found.texts()), (2, vec![expected]));
    }

    #[test]
    fn one_server_holds_every_click() {
        let mut found = MisplacedClicks::default();
        assert!(found.add(&ShardLayout::new(vec![1]), 0, ([7; 16], 1)));
        assert_eq!(found.rows(), 0);
    }
}
