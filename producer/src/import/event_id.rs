//! The event ids of imported lines, which are the same at each import of the same file.
//!
//! Pure. The algorithm never changes: with another one, a file that is imported again would count twice.

use std::collections::HashMap;

use schemas::EventId;
use sha2::{Digest as _, Sha256};

use crate::click::ClickKey;

const RECIPE: &[u8] = b"clicktrail import 1";
/// Most distinct lines between two equal ones: as many as a table of 2^20 entries holds.
pub const WINDOW_LINES: usize = 917_504;

/// Computes the ids of the lines of one file, in their order.
///
/// It keeps a hash and a count of at least the last [`WINDOW_LINES`] distinct lines, and of at most twice
/// as many, which take 36 MiB. Equal lines have equal times, and a server writes lines nearly in the
/// order of their times, so equal lines are near to each other. If two hashes collide, an ordinal is
/// higher than necessary, and is so at each import.
#[derive(Debug)]
pub struct ImportedEventIds {
    recipe: Sha256,
    /// The next ordinals: `young` of the latest lines, `old` of the lines before them.
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
    window: usize,
}

impl ImportedEventIds {
    /// Starts a file of the server with the name `source`.
    pub fn new(source: &str) -> Self {
        Self::with_window(source, WINDOW_LINES)
    }

    /// As [`ImportedEventIds::new`], with another number of distinct lines to keep.
    fn with_window(source: &str, window: usize) -> Self {
        let mut recipe = Sha256::new_with_prefix(RECIPE);
        recipe.update((source.len() as u64).to_be_bytes());
        recipe.update(source);
        Self { recipe, young: HashMap::new(), old: HashMap::new(), window }
    }

    /// The id of the next line: a UUID v7 of its time, whose other 74 bits are a hash of the source, the line
    /// (without its end) and the number of equal lines before it in the file.
    pub fn next(&mut self, line: &[u8], occurred_at: i64) -> EventId {
        let text = Sha256::digest(line);
        let ordinal = self.ordinal(first_u64(&text));
        let hash = self.recipe.clone().chain_update(text).chain_update(ordinal.to_be_bytes());
        let mut random = [0; 16];
        random.copy_from_slice(&hash.finalize()[..16]);
        ClickKey::mint(occurred_at, &random).event_id
    }

    fn ordinal(&mut self, hash: u64) -> u64 {
        if let Some(next) = self.young.get_mut(&hash) {
            *next += 1;
            return *next - 1;
        }
        let ordinal = self.old.get(&hash).copied().unwrap_or_default();
        if self.young.len() == self.window {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(hash, ordinal + 1);
        debug_assert!(self.young.len() <= self.window && self.old.len() <= self.window);
        ordinal
    }
}

fn first_u64(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_431_857_103_000_000;

    fn ids(source: &str, lines: &[&str]) -> Vec<EventId> {
        let mut ids = ImportedEventIds::new(source);
        lines.iter().map(|line| ids.next(line.as_bytes(), AT)).collect()
    }

    #[test]
    fn the_algorithm_never_changes() {
        let made: Vec<_> =
            ids("access-log", &["a", "a", "b"]).iter().map(ToString::to_string).collect();
        assert_eq!(
            made,
            [
                "014d6155-8098-7d79-8755-e1b20f2ba8e8",
                "014d6155-8098-7cf4-8ae4-dc3771f13900",
                "014d6155-8098-76af-b1fd-03043b6c3c3b",
            ]
        );
    }

    #[test]
    fn a_file_read_again_gives_the_same_ids() {
        let lines = ["a", "b", "a", "c", "a"];
        assert_eq!(ids("x", &lines), ids("x", &lines));
    }

    #[test]
    fn equal_lines_within_the_window_keep_their_ordinals_and_the_memory_is_bounded() {
        const WINDOW: usize = 100;
        let mut ids = ImportedEventIds::with_window("x", WINDOW);
        let mut all = std::collections::HashSet::new();
        // Each line is repeated after almost as many distinct lines as the window has.
        for n in 0..10_000_usize {
            for n in n.checked_sub(WINDOW / 2 - 1).into_iter().chain([n]) {
                assert!(all.insert(ids.next(n.to_string().as_bytes(), AT)), "{n}");
            }
            assert!(ids.young.len() + ids.old.len() <= 2 * WINDOW);
        }
        let entry = size_of::<(u64, u64)>() + 1;
        assert!(WINDOW_LINES * 8 / 7 * entry * 2 <= 36 << 20, "the documented bound");
    }

    #[test]
    fn i8_an_equal_line_is_another_click_in_its_file_and_the_same_one_in_another_file() {
        let (first, second) = (ids("x", &["a", "b", "b"]), ids("x", &["b", "c"]));
        assert_eq!(first[1], second[0]);
        assert_ne!(first[2], second[0]);
    }

    #[test]
    fn identical_lines_and_other_sources_stay_apart() {
        let mut all = ids("x", &["a", "a", "a", "b"]);
        all.extend(ids("y", &["a", "a"]));
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_line_added_elsewhere_moves_no_id() {
        let (before, after) = (ids("x", &["a", "b", "a"]), ids("x", &["c", "a", "b", "a"]));
        assert_eq!(before, after[1..]);
    }

    #[test]
    fn an_id_is_a_v7_of_the_lines_time() {
        let id = ids("x", &["a"])[0];
        assert_eq!(id.get_version_num(), 7);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_431_857_103, 0));
    }
}
