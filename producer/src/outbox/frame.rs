//! One click in a segment: its length, a checksum, when it came, its trace, its datum.
//!
//! Pure. The layout is on disks of operators: it may only change with the magic of a segment.

use crate::outbox::offer::TraceHeaders;

/// Bytes before a body: its length and the checksum of length and body, both little-endian.
const HEAD: usize = 8;
/// Longest body; a click is cut to a tenth of it.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Time, and the lengths of the two headers.
const BODY_BYTES_MIN: usize = 8 + 1 + 2;

/// A click as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredClick<'a> {
    /// When it was taken in, milliseconds since 1970.
    pub taken_ms: u64,
    /// Trace headers that go with it.
    pub trace: TraceHeaders<'a>,
    /// Avro datum, without the registry's frame.
    pub datum: &'a [u8],
}

/// What stands at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// A frame of so many bytes, head and all, if its checksum agrees.
    Known(usize),
    /// Too few bytes to know.
    Unknown,
    /// Nothing that was ever written as a frame.
    Bad,
}

/// Appends a frame; false if the click is too large for one, and nothing was appended.
#[must_use]
pub fn write(click: &StoredClick<'_>, into: &mut Vec<u8>) -> bool {
    let parent = click.trace.traceparent.unwrap_or_default();
    let state = click.trace.tracestate.unwrap_or_default();
    let bytes = BODY_BYTES_MIN + parent.len() + state.len() + click.datum.len();
    let (Ok(parent_bytes), Ok(state_bytes)) =
        (u8::try_from(parent.len()), u16::try_from(state.len()))
    else {
        return false;
    };
    let length = match u32::try_from(bytes) {
        Ok(length) if bytes <= BODY_BYTES_MAX => length.to_le_bytes(),
        _ => return false,
    };
    let start = into.len();
    into.extend_from_slice(&length);
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&click.taken_ms.to_le_bytes());
    into.push(parent_bytes);
    into.extend_from_slice(&state_bytes.to_le_bytes());
    into.extend_from_slice(parent.as_bytes());
    into.extend_from_slice(state.as_bytes());
    into.extend_from_slice(click.datum);
    let sum = checksum(length, &into[start + HEAD..]);
    into[start + 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
    true
}

/// How long the frame is that starts here.
pub fn length(bytes: &[u8]) -> Length {
    let Some((head, _)) = bytes.split_first_chunk::<4>() else { return Length::Unknown };
    match usize::try_from(u32::from_le_bytes(*head)) {
        Ok(body) if (BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&body) => Length::Known(HEAD + body),
        _ => Length::Bad,
    }
}

/// The click of a complete frame; `None` if it is not as it was written.
pub fn read(frame: &[u8]) -> Option<StoredClick<'_>> {
    let (length, rest) = frame.split_first_chunk::<4>()?;
    let (sum, body) = rest.split_first_chunk::<4>()?;
    if checksum(*length, body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (taken, rest) = body.split_first_chunk::<8>()?;
    let (parent_bytes, rest) = rest.split_first()?;
    let (state_bytes, rest) = rest.split_first_chunk::<2>()?;
    let (parent, rest) = rest.split_at_checked(usize::from(*parent_bytes))?;
    let (state, datum) = rest.split_at_checked(usize::from(u16::from_le_bytes(*state_bytes)))?;
    let trace = TraceHeaders { traceparent: text(parent)?, tracestate: text(state)? };
    Some(StoredClick { taken_ms: u64::from_le_bytes(*taken), trace, datum })
}

/// An empty header is one that was not there.
fn text(bytes: &[u8]) -> Option<Option<&str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some((!text.is_empty()).then_some(text))
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length);
    sum.update(body);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(click: &StoredClick<'_>) -> Vec<u8> {
        let mut bytes = vec![7];
        assert!(write(click, &mut bytes));
        bytes.split_off(1)
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
        assert_eq!(length(&[0; 64]), Length::Bad);
        assert_eq!(length(&[1]), Length::Unknown);
        assert_eq!(length(&[0xff; 8]), Length::Bad);
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
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
            prop_assert_eq!(length(&frame), Length::Known(frame.len()));
            prop_assert_eq!(read(&frame), Some(click));
        }

        #[test]
        fn a_frame_with_any_bit_turned_is_never_read(datum: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let click = StoredClick { taken_ms: 5, trace: TraceHeaders::default(), datum: &datum };
            let mut frame = framed(&click);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            prop_assert_eq!(read(&frame), None);
        }
    }
}
