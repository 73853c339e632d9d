//! A frame: one click in a segment, with a head that names its place, its time, its trace and its datum.
//!
//! Pure. Disks of operators hold this layout: it may change only together with the magic of a segment.

use crc32fast::Hasher;

use crate::outbox::offer::TraceHeaders;

/// Bytes of a head: five little-endian words of 4 bytes. They are the length of all that follows the
/// second word, the checksum of that length and of all that follows this word, the salt of the segment,
/// the index of the click in the segment, and the checksum of length and index.
pub const HEAD: usize = 20;
/// Bytes of a head in the first layout: length and checksum.
const FIRST_HEAD: usize = 8;
/// Bytes of the time and of the lengths of the two headers.
const CLICK_BYTES_MIN: usize = 8 + 1 + 2;
/// Most bytes after length and checksum; the producer cuts clicks to a tenth of this.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a frame.
pub const FRAME_BYTES_MAX: usize = FIRST_HEAD + BODY_BYTES_MAX;
/// Fewest bytes of a frame of any layout.
pub const FRAME_BYTES_MIN: usize = FIRST_HEAD + CLICK_BYTES_MIN;

/// A click as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredClick<'a> {
    /// When the outbox accepted it, milliseconds since 1970.
    pub taken_ms: u64,
    /// Trace headers of its record.
    pub trace: TraceHeaders<'a>,
    /// Avro datum, without the registry's frame.
    pub datum: &'a [u8],
}

/// Binds frames to their segment: frames of other segments, and bytes that a sender forms like a frame,
/// have other checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameKey {
    /// Random. Each frame repeats it, so that a lost header of the segment costs no click.
    pub salt: u32,
    /// Start value of the checksums.
    pub seed: u32,
}

/// The layout of the frames of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// With length and checksum only. It is still read, but no longer written.
    First,
    /// With salt and index.
    Keyed(FrameKey),
}

/// The head at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The head of a frame; its click may still be damaged.
    Frame(FrameHead),
    /// Too few bytes to decide.
    Unknown,
    /// No head of this segment.
    Bad,
}

/// The content of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the frame, with its head.
    pub bytes: usize,
    /// The index of the click in its segment; the first layout has none.
    pub index: Option<u32>,
}

/// Appends a frame without its place; false, without appending it, if the click is too large.
#[must_use]
pub fn write(click: &StoredClick<'_>, into: &mut Vec<u8>) -> bool {
    let parent = click.trace.traceparent.unwrap_or_default();
    let state = click.trace.tracestate.unwrap_or_default();
    let bytes =
        HEAD - FIRST_HEAD + CLICK_BYTES_MIN + parent.len() + state.len() + click.datum.len();
    let (Ok(parent_bytes), Ok(state_bytes)) =
        (u8::try_from(parent.len()), u16::try_from(state.len()))
    else {
        return false;
    };
    let length = match u32::try_from(bytes) {
        Ok(length) if bytes <= BODY_BYTES_MAX => length.to_le_bytes(),
        _ => return false,
    };
    into.extend_from_slice(&length);
    into.extend_from_slice(&[0; HEAD - 4]);
    into.extend_from_slice(&click.taken_ms.to_le_bytes());
    into.push(parent_bytes);
    into.extend_from_slice(&state_bytes.to_le_bytes());
    into.extend_from_slice(parent.as_bytes());
    into.extend_from_slice(state.as_bytes());
    into.extend_from_slice(click.datum);
    true
}

/// Sets the place of a frame that was just encoded: the segment of `key`, and its `index` there.
pub fn place(frame: &mut [u8], key: FrameKey, index: u32) {
    assert!(frame.len() >= HEAD, "a frame has a head");
    frame[8..12].copy_from_slice(&key.salt.to_le_bytes());
    frame[12..16].copy_from_slice(&index.to_le_bytes());
    let sum = head_checksum(frame, key);
    frame[16..20].copy_from_slice(&sum.to_le_bytes());
    let sum = checksum(frame, key.seed);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// The head that starts here.
pub fn head(bytes: &[u8], layout: Layout) -> Head {
    let Some(length) = word(bytes, 0) else { return Head::Unknown };
    let body = length as usize;
    if !(CLICK_BYTES_MIN..=BODY_BYTES_MAX).contains(&body) {
        return Head::Bad;
    }
    let bytes_in_all = FIRST_HEAD + body;
    match layout {
        Layout::First => Head::Frame(FrameHead { bytes: bytes_in_all, index: None }),
        Layout::Keyed(key) => {
            let (Some(salt), Some(index), Some(sum)) =
                (word(bytes, 8), word(bytes, 12), word(bytes, 16))
            else {
                return Head::Unknown;
            };
            if salt == key.salt && sum == head_checksum(bytes, key) {
                Head::Frame(FrameHead { bytes: bytes_in_all, index: Some(index) })
            } else {
                Head::Bad
            }
        }
    }
}

/// Whether bytes that are no head were a head of this segment, of which a part is left.
pub fn was_head(bytes: &[u8], layout: Layout) -> bool {
    match layout {
        Layout::First => false,
        Layout::Keyed(key) => {
            word(bytes, 8) == Some(key.salt)
                || word(bytes, 16).is_some_and(|sum| sum == head_checksum(bytes, key))
        }
    }
}

/// The salt of the frame that may start here.
pub fn salt(bytes: &[u8]) -> Option<u32> {
    word(bytes, 8)
}

/// Whether a complete frame is undamaged.
pub fn is_whole(frame: &[u8], layout: Layout) -> bool {
    let seed = match layout {
        Layout::First => 0,
        Layout::Keyed(key) => key.seed,
    };
    word(frame, 4).is_some_and(|sum| sum == checksum(frame, seed))
}

/// The click of an undamaged frame; `None` if the frame holds no click.
pub fn read(frame: &[u8], layout: Layout) -> Option<StoredClick<'_>> {
    let head = match layout {
        Layout::First => FIRST_HEAD,
        Layout::Keyed(_) => HEAD,
    };
    let (taken, rest) = frame.get(head..)?.split_first_chunk::<8>()?;
    let (parent_bytes, rest) = rest.split_first()?;
    let (state_bytes, rest) = rest.split_first_chunk::<2>()?;
    let (parent, rest) = rest.split_at_checked(usize::from(*parent_bytes))?;
    let (state, datum) = rest.split_at_checked(usize::from(u16::from_le_bytes(*state_bytes)))?;
    let trace = TraceHeaders { traceparent: text(parent)?, tracestate: text(state)? };
    Some(StoredClick { taken_ms: u64::from_le_bytes(*taken), trace, datum })
}

/// The text of a header; an empty one means that the header is missing.
fn text(bytes: &[u8]) -> Option<Option<&str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some((!text.is_empty()).then_some(text))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|word| u32::from_le_bytes(*word))
}

/// The checksum of the frame, without the checksum itself.
fn checksum(frame: &[u8], seed: u32) -> u32 {
    let mut sum = Hasher::new_with_initial(seed);
    sum.update(&frame[..4]);
    sum.update(&frame[FIRST_HEAD..]);
    sum.finalize()
}

/// The checksum of length and index.
fn head_checksum(frame: &[u8], key: FrameKey) -> u32 {
    let mut sum = Hasher::new_with_initial(key.seed);
    sum.update(&frame[..4]);
    sum.update(&frame[12..16]);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: FrameKey = FrameKey { salt: 0x1234_5678, seed: 0x9abc_def0 };
    const KEYED: Layout = Layout::Keyed(KEY);

    fn framed(click: &StoredClick<'_>) -> Vec<u8> {
        let mut bytes = vec![7];
        assert!(write(click, &mut bytes));
        let mut frame = bytes.split_off(1);
        place(&mut frame, KEY, 3);
        frame
    }

    #[test]
    fn a_click_too_large_is_refused_and_leaves_nothing() {
        let datum = vec![0; BODY_BYTES_MAX];
        let mut bytes = Vec::new();
        let click = StoredClick { taken_ms: 1, trace: TraceHeaders::default(), datum: &datum };
        assert!(!write(&click, &mut bytes) && bytes.is_empty());
    }

    #[test]
    fn zeros_are_no_frame() {
        for layout in [Layout::First, KEYED] {
            assert_eq!(head(&[0; 64], layout), Head::Bad);
            assert_eq!(head(&[1], layout), Head::Unknown);
            assert_eq!(head(&[0xff; 8], layout), Head::Bad);
        }
        // A key of zeros is no exception.
        assert!(!was_head(&[0; 64], KEYED));
    }

    #[test]
    fn h12_a_frame_of_another_segment_or_one_that_a_sender_made_is_no_frame_here() {
        let click = StoredClick { taken_ms: 5, trace: TraceHeaders::default(), datum: b"datum" };
        let frame = framed(&click);
        for key in [FrameKey { salt: 1, ..KEY }, FrameKey { seed: 1, ..KEY }] {
            assert_eq!(head(&frame, Layout::Keyed(key)), Head::Bad);
            assert!(!is_whole(&frame, Layout::Keyed(FrameKey { seed: 1, ..KEY })));
        }
    }

    proptest! {
        #[test]
        fn written_links_are_read_back(
            taken_ms: u64,
            parent in "[a-f0-9-]{0,55}",
            state in "[a-z=,]{0,600}",
            datum: Vec<u8>,
        ) {
            let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
            let (parent, state) = (some(&parent), some(&state));
            let trace =
                TraceHeaders { traceparent: parent.as_deref(), tracestate: state.as_deref() };
            let click = StoredClick { taken_ms, trace, datum: &datum };
            let frame = framed(&click);
            let expected = FrameHead { bytes: frame.len(), index: Some(3) };
            prop_assert_eq!(head(&frame, KEYED), Head::Frame(expected));
            prop_assert!(is_whole(&frame, KEYED));
            prop_assert_eq!(read(&frame, KEYED), Some(click));
        }

        #[test]
        fn a_frame_with_any_bit_turned_is_never_whole(datum: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let click = StoredClick { taken_ms: 5, trace: TraceHeaders::default(), datum: &datum };
            let mut frame = framed(&click);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            prop_assert!(!is_whole(&frame, KEYED));
            // Its head is right, or it is known that it was one.
            let known = matches!(head(&frame, KEYED), Head::Frame(_)) || was_head(&frame, KEYED);
            prop_assert!(known, "byte {at}");
        }
    }
}
