//! Decompresses the members of a gzip file, one after the other.
//!
//! Zeros after a member are padding, as for `gzip`. Other bytes end the file: the text before them is
//! read, and the bytes are reported.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first byte of a member.
const MEMBER: u8 = 0x1f;

/// Reads the members of a gzip file.
#[derive(Debug)]
pub struct GzipMembers<R> {
    /// `None` at the end.
    member: Option<GzDecoder<R>>,
    has_foreign_bytes: bool,
}

impl<R: BufRead> GzipMembers<R> {
    /// Reads from the start of the first member.
    pub fn new(source: R) -> Self {
        Self { member: Some(GzDecoder::new(source)), has_foreign_bytes: false }
    }

    /// Whether bytes that are neither a member nor padding follow the last member.
    pub fn has_foreign_bytes(&self) -> bool {
        self.has_foreign_bytes
    }

    /// The next member, if one follows.
    fn next_member(&mut self, mut source: R) -> io::Result<Option<GzDecoder<R>>> {
        loop {
            let bytes = source.fill_buf()?;
            let padding = bytes.iter().take_while(|byte| **byte == 0).count();
            match bytes.get(padding) {
                Some(&MEMBER) => {
                    source.consume(padding);
                    return Ok(Some(GzDecoder::new(source)));
                }
                Some(_) => {
                    self.has_foreign_bytes = true;
                    return Ok(None);
                }
                None if padding == 0 => return Ok(None),
                None => source.consume(padding),
            }
        }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            if let Some(ended) = self.member.take() {
                self.member = self.next_member(ended.into_inner())?;
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use proptest::prelude::*;

    use super::*;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// What is read through a buffer of a few bytes, and whether foreign bytes follow.
    fn read(bytes: &[u8], buffer: usize) -> (io::Result<usize>, Vec<u8>, bool) {
        let mut members = GzipMembers::new(BufReader::with_capacity(buffer, bytes));
        let mut text = Vec::new();
        (members.read_to_end(&mut text), text, members.has_foreign_bytes())
    }

    #[test]
    fn i7_zeros_after_a_member_are_padding_and_other_bytes_are_reported() {
        let a = member(b"a\n");
        for (behind, text, foreign) in [
            (vec![], "a\n", false),
            (vec![0; 1], "a\n", false),
            (vec![0; 512], "a\n", false),
            (vec![0; 1 << 20], "a\n", false),
            (member(b"b"), "a\nb", false),
            ([vec![0; 7], member(b"b"), vec![0; 9]].concat(), "a\nb", false),
            (member(b""), "a\n", false),
            (b"x".to_vec(), "a\n", true),
            (b"\n".to_vec(), "a\n", true),
            ([vec![0; 512], b"203.0.113.7 - -".to_vec()].concat(), "a\n", true),
        ] {
            for buffer in [1, 3, 8_192] {
                let (result, read, has_foreign) =
                    read(&[a.clone(), behind.clone()].concat(), buffer);
                result.unwrap();
                assert_eq!((read.as_slice(), has_foreign), (text.as_bytes(), foreign));
            }
        }
    }

    #[test]
    fn i7_a_cut_member_is_an_error_after_the_lines_before_it() {
        let whole = [member(b"a\n"), member(b"b\n")].concat();
        let (result, text, _) = read(&whole[..whole.len() - 4], 64);
        assert!(result.is_err() && text.starts_with(b"a\n"), "{text:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn f15_any_members_and_padding_are_read_and_any_other_byte_is_reported(
            parts in proptest::collection::vec((".{0,40}", 0..600usize), 1..4),
            behind in proptest::option::of(1..=255u8),
            buffer in 1..64usize,
        ) {
            let (mut bytes, mut text) = (Vec::new(), String::new());
            for (part, zeros) in &parts {
                bytes.extend(member(part.as_bytes()));
                bytes.extend(vec![0; *zeros]);
                text.push_str(part);
            }
            let behind = behind.filter(|byte| *byte != MEMBER);
            bytes.extend(behind);
            let (result, read, foreign) = read(&bytes, buffer);
            prop_assert!(result.is_ok());
            prop_assert_eq!((read, foreign), (text.into_bytes(), behind.is_some()));
        }
    }
}
