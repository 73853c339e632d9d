//! The headers by which a redriven record names its origin. Pure.

use schemas::headers as names;

/// Maximum bytes of each of them; the name of a topic has at most 249.
const VALUE_BYTES_MAX: usize = 512;

/// The first header of each of the two names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OriginHeaders<'a> {
    /// The value of the first header of that name; `None` inside: it is null, or too long.
    origin: Option<Option<&'a [u8]>>,
    /// Likewise.
    redrives: Option<Option<&'a [u8]>>,
}

impl<'a> OriginHeaders<'a> {
    /// Notes a header; costs a comparison of lengths for most names.
    pub fn note(&mut self, name: &[u8], value: Option<&'a [u8]>) {
        let own = if name == names::DEAD_LETTER_ORIGIN.as_bytes() {
            &mut self.origin
        } else if name == names::DEAD_LETTER_REDRIVES.as_bytes() {
            &mut self.redrives
        } else {
            return;
        };
        own.get_or_insert(value.filter(|value| value.len() <= VALUE_BYTES_MAX));
    }

    /// The origin, `topic:partition:offset:log time`.
    pub fn origin(self) -> Option<&'a str> {
        text(self.origin)
    }

    /// The number of the redrive.
    pub fn redrives(self) -> Option<&'a str> {
        text(self.redrives)
    }

    /// Name and value of each header that has a value.
    pub fn iter(self) -> impl Iterator<Item = (&'static str, &'a [u8])> {
        let both = [
            (names::DEAD_LETTER_ORIGIN, self.origin),
            (names::DEAD_LETTER_REDRIVES, self.redrives),
        ];
        both.into_iter().filter_map(|(name, value)| Some((name, value??)))
    }
}

fn text(value: Option<Option<&[u8]>>) -> Option<&str> {
    std::str::from_utf8(value??).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_header_of_each_name_counts_unless_it_is_null_or_too_long() {
        let (origin, redrives) = (names::DEAD_LETTER_ORIGIN, names::DEAD_LETTER_REDRIVES);
        let long = [b'a'; VALUE_BYTES_MAX + 1];
        let of = |all: &[(&str, Option<&'static [u8]>)]| {
            let mut headers = OriginHeaders::default();
            all.iter().for_each(|(name, value)| headers.note(name.as_bytes(), *value));
            (headers.origin(), headers.redrives())
        };
        assert_eq!(of(&[("traceparent", Some(b"x"))]), (None, None));
        assert_eq!(of(&[(redrives, Some(b"1")), (origin, Some(b"o"))]), (Some("o"), Some("1")));
        assert_eq!(of(&[(origin, Some(b"a")), (origin, Some(b"b"))]), (Some("a"), None));
        assert_eq!(of(&[(origin, None), (origin, Some(b"b"))]), (None, None));
        assert_eq!(of(&[(origin, Some(&[0xff]))]), (None, None));
        for (bytes, is_kept) in [(&long[1..], true), (&long[..], false)] {
            let mut headers = OriginHeaders::default();
            headers.note(origin.as_bytes(), Some(bytes));
            assert_eq!(headers.origin().is_some(), is_kept);
            assert_eq!(headers.iter().count(), usize::from(is_kept));
        }
    }
}
