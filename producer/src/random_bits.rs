//! Random bits of event ids, from the generator of the operating system.
//!
//! Span ids come from a fast generator. Each answer shows its output, from which its next output can be
//! computed; event ids, which are also trace ids, must not be predictable in this way. One system call fills
//! a buffer for 64 ids; each thread has its own buffer.
#![expect(clippy::disallowed_methods, reason = "random bits are read here")]

use std::cell::RefCell;

/// Bytes of one id.
const ID_BYTES: usize = 16;
/// Ids for which one system call is made.
const IDS_PER_FILL: usize = 64;

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// Random bytes that are not used yet.
struct Buffer {
    bytes: [u8; ID_BYTES * IDS_PER_FILL],
    ids_left: usize,
}

impl Buffer {
    const fn new() -> Self {
        Self { bytes: [0; ID_BYTES * IDS_PER_FILL], ids_left: 0 }
    }

    /// The bytes of the next id; `fill` replaces the buffer when all are used.
    fn next(&mut self, fill: impl FnOnce(&mut [u8])) -> [u8; ID_BYTES] {
        if self.ids_left == 0 {
            fill(&mut self.bytes);
            self.ids_left = IDS_PER_FILL;
        }
        self.ids_left -= 1;
        let (ids, _) = self.bytes.as_chunks_mut::<ID_BYTES>();
        // Bytes that were returned do not stay in memory.
        std::mem::take(&mut ids[self.ids_left])
    }
}

/// The random bytes of one event id.
pub fn event_bits() -> [u8; ID_BYTES] {
    BUFFER.with_borrow_mut(|buffer| buffer.next(fill))
}

/// # Panics
/// The operating system has no random bytes. No supported system reports that after its start.
#[expect(clippy::expect_used, reason = "an internal invariant: day keys were made the same way")]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has random bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn l12_an_event_id_has_only_bytes_of_the_systems_generator_and_each_once() {
        let (mut buffer, mut fills, mut given) = (Buffer::new(), 0_u32, HashSet::new());
        for _ in 0..4 * IDS_PER_FILL {
            let id = buffer.next(|bytes| {
                for (place, id) in bytes.chunks_exact_mut(ID_BYTES).enumerate() {
                    id[..4].copy_from_slice(&fills.to_be_bytes());
                    id[4..].fill(u8::try_from(place).unwrap() + 1);
                }
                fills += 1;
            });
            assert!(id[4] > 0 && id[4..].iter().all(|byte| *byte == id[4]), "{id:?}");
            assert!(given.insert(id), "{id:?} was given twice");
        }
        assert_eq!(fills, 4, "one system call is made for {IDS_PER_FILL} ids");
        assert!(buffer.bytes.iter().all(|byte| *byte == 0), "given bytes do not stay");
    }

    #[test]
    fn l12_threads_share_no_bits() {
        let ids: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).map(|_| event_bits()).collect::<Vec<_>>()))
                .collect();
            all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4_000);
        assert!(ids.iter().all(|id| *id != [0; ID_BYTES]));
    }
}
