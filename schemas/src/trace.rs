//! W3C trace context: reads, makes and writes `traceparent`.
//!
//! Pure: the caller gives the random ids. It has no spans and no exporter.

/// Length of a version 00 `traceparent`.
pub const TRACEPARENT_BYTES: usize = 55;
/// A longer `tracestate` is dropped, which the specification allows.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Of the whole trace; never zero.
    pub trace_id: [u8; 16],
    /// Of one span in it; never zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; none when it is not a valid one (the caller then starts a trace).
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let (head, rest) = bytes.split_at_checked(TRACEPARENT_BYTES)?;
        let [version] = hex::<1>(&head[..2])?;
        // A later version may append more after a dash.
        match (version, rest.first()) {
            (0xff, _) => return None,
            (0, None) | (1..=0xfe, None | Some(b'-')) => {}
            (_, Some(_)) => return None,
        }
        let dashes = [head[2], head[35], head[52]];
        let context = Self {
            trace_id: hex(&head[3..35])?,
            span_id: hex(&head[36..52])?,
            sampled: hex::<1>(&head[53..])?[0] & 1 == 1,
        };
        let zero = context.trace_id == [0; 16] || context.span_id == [0; 8];
        (dashes == [b'-'; 3] && !zero).then_some(context)
    }

    /// The same trace, another span.
    #[must_use]
    pub fn child(self, span_id: [u8; 8]) -> Self {
        Self { span_id, ..self }
    }

    /// A trace that starts here, sampled with probability `ratio` (0 to 1) by its id.
    pub fn root(trace_id: [u8; 16], span_id: [u8; 8], ratio: f64) -> Self {
        Self { trace_id, span_id, sampled: chosen(trace_id, ratio) }
    }

    /// Writes it as a version 00 `traceparent`.
    pub fn traceparent(&self) -> Traceparent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        text[54] = if self.sampled { b'1' } else { b'0' };
        Traceparent(text)
    }
}

/// Text of a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; TRACEPARENT_BYTES]);

impl Traceparent {
    /// The header's value.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Whether a `tracestate` may be passed on.
pub fn tracestate_is_plain(state: &str) -> bool {
    (1..=TRACESTATE_BYTES_MAX).contains(&state.len())
        && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// As OpenTelemetry's sampler by trace id, but by the last four bytes: those of a UUID v7 are random, and its ninth
/// byte, with which that sampler begins, is not.
fn chosen(trace_id: [u8; 16], ratio: f64) -> bool {
    let [.., a, b, c, d] = trace_id;
    f64::from(u32::from_be_bytes([a, b, c, d])) < ratio * (f64::from(u32::MAX) + 1.0)
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Lower case only, as the specification demands.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_parent_is_read_and_written_back() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert!(context.sampled);
        assert_eq!(context.traceparent().as_str(), GOOD);
        let child = context.child([1; 8]);
        assert_eq!((child.trace_id, child.sampled), (context.trace_id, true));
    }

    #[test]
    fn a_later_version_is_read_by_what_we_know_of_it() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(GOOD));
        assert_eq!(TraceContext::parse(&format!("{later}-more")), TraceContext::parse(GOOD));
    }

    #[test]
    fn what_is_no_traceparent_is_not_taken_up() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-x"),
            &format!("{GOOD}0"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replacen('-', "_", 1),
            &GOOD.replacen('a', "ü", 1),
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_ratio_decides_by_the_id() {
        let root = |low: u8, ratio| TraceContext::root([low; 16], [1; 8], ratio).sampled;
        assert!(!root(0, 0.0) && !root(255, 0.0) && root(1, 1.0) && root(255, 1.0));
        assert!(root(0x10, 0.5) && !root(0x90, 0.5));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text: String) {
            TraceContext::parse(&text);
        }

        #[test]
        fn what_is_written_is_read(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) {
            let zero = trace_id == [0; 16] || span_id == [0; 8];
            let context = TraceContext { trace_id, span_id, sampled };
            let read = TraceContext::parse(context.traceparent().as_str());
            prop_assert_eq!(read, (!zero).then_some(context));
        }
    }
}
