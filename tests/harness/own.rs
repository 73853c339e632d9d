//! A stack that nobody else uses, for tests that kill its parts or look into them.

use std::ops::Deref;

use stack::{Cache, Part, PortChoice, Stack};
use tempfile::TempDir;

/// A running stack in a folder of its own; both go when it goes.
#[derive(Debug)]
pub struct OwnStack {
    stack: Stack,
    _folder: TempDir,
}

impl OwnStack {
    /// Starts all parts and waits until they answer.
    ///
    /// # Panics
    /// When one does not start.
    pub fn up() -> Self {
        Self::of(&Part::ALL)
    }

    /// As [`OwnStack::up`], of some parts only.
    ///
    /// # Panics
    /// When one does not start.
    pub fn of(parts: &[Part]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let choice = PortChoice { auto: true, ..PortChoice::default() };
        let cache = Cache::shared().expect("there is a place for downloads");
        let stack = Stack::open(folder.path(), cache, choice).expect("a stack can be opened");
        // Taken down also when a part does not start.
        let own = Self { stack, _folder: folder };
        own.stack.up_parts(parts).expect("the parts start");
        own
    }
}

impl Deref for OwnStack {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        self.stack.down().ok();
    }
}
