//! The kind of a file, by its first bytes: lines, gzip, or a kind that cannot be imported.
//!
//! Pure. The error for such a kind names a program that converts it. Read as text, it would become
//! malformed lines, and an archive of one file would also become clicks.

use thiserror::Error;

/// The first bytes of each member of a gzip file.
const GZIP: &[u8] = b"\x1f\x8b";
/// Bytes of a tar header, and the place of its checksum.
const TAR_HEADER: usize = 512;
const TAR_CHECKSUM: std::ops::Range<usize> = 148..156;
/// Bytes of a cpio header in text form.
const CPIO_HEADER: usize = 110;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Lines of text.
    Lines,
    /// Compressed by gzip.
    Gzip,
    /// A kind that cannot be imported.
    Other(UnreadKind),
}

/// A kind of file that cannot be imported, and the program that converts it to lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{what} cannot be imported: pipe its lines in, as in `{program} FILE | producer import … -`"
)]
pub struct UnreadKind {
    what: &'static str,
    program: &'static str,
}

/// Kinds by their first bytes.
const KINDS: &[(&[u8], UnreadKind)] = &[
    (b"PK\x03\x04", UnreadKind::new("a zip archive", "unzip -p")),
    (b"PK\x05\x06", UnreadKind::new("an empty zip archive", "unzip -p")),
    (b"PK\x07\x08", UnreadKind::new("a part of a zip archive", "unzip -p")),
    (b"7z\xbc\xaf\x27\x1c", UnreadKind::new("a 7z archive", "7z x -so")),
    (b"Rar!\x1a\x07", UnreadKind::new("a rar archive", "unrar p -inul")),
    (b"!<arch>\n", UnreadKind::new("an ar archive", "ar p")),
    (b"\x1f\x9d", UnreadKind::new("a file of compress", "zcat")),
    (b"\xfd7zXZ\0", UnreadKind::new("a file of xz", "xz -dc")),
    (b"LZIP\x01", UnreadKind::new("a file of lzip", "lzip -dc")),
    (b"\x28\xb5\x2f\xfd", UnreadKind::new("a file of zstd", "zstd -dc")),
    (b"\x04\x22\x4d\x18", UnreadKind::new("a file of lz4", "lz4 -dc")),
    (b"\xff\xfe", UnreadKind::new("a text in UTF-16", "iconv -f UTF-16 -t UTF-8")),
    (b"\xfe\xff", UnreadKind::new("a text in UTF-16", "iconv -f UTF-16 -t UTF-8")),
];
const BZIP2: UnreadKind = UnreadKind::new("a file of bzip2", "bzip2 -dc");
const TAR: UnreadKind = UnreadKind::new("a tar archive", "tar -xOf");
const CPIO: UnreadKind = UnreadKind::new("a cpio archive", "cpio -i --to-stdout <");
const GZIP_TWICE: UnreadKind = UnreadKind::new("a file that gzip compressed twice", "zcat");

impl UnreadKind {
    const fn new(what: &'static str, program: &'static str) -> Self {
        Self { what, program }
    }
}

impl FileKind {
    /// The kind of a file that begins with these bytes.
    pub fn of(head: &[u8]) -> Self {
        if head.starts_with(GZIP) {
            return Self::Gzip;
        }
        let by_magic = KINDS.iter().find(|(magic, _)| head.starts_with(magic));
        let kind = match by_magic {
            Some((_, kind)) => *kind,
            None if is_bzip2(head) => BZIP2,
            None if is_tar(head) => TAR,
            None if is_cpio(head) => CPIO,
            None => return Self::Lines,
        };
        Self::Other(kind)
    }

    /// Checks that decompressed text that begins with these bytes is lines.
    ///
    /// # Errors
    /// The kind that it is.
    pub fn check_decompressed(head: &[u8]) -> Result<(), UnreadKind> {
        match Self::of(head) {
            Self::Lines => Ok(()),
            Self::Gzip => Err(GZIP_TWICE),
            Self::Other(kind) => Err(kind),
        }
    }
}

/// A bzip2 file begins with `BZh`, the block size, and the mark of a block or of the end.
fn is_bzip2(head: &[u8]) -> bool {
    let Some([b'1'..=b'9', mark @ ..]) = head.strip_prefix(b"BZh") else { return false };
    mark.starts_with(b"1AY&SY") || mark.starts_with(b"\x17\x72\x45\x38\x50\x90")
}

/// Each form of tar, also the oldest one, holds the sum of the bytes of its header.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..TAR_HEADER) else { return false };
    let digits = header[TAR_CHECKSUM].trim_ascii_start();
    let digits = digits.split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    let written = std::str::from_utf8(digits).ok().and_then(|it| u32::from_str_radix(it, 8).ok());
    let in_sum = header.iter().enumerate().map(|(at, byte)| {
        // The checksum counts as spaces.
        u32::from(if TAR_CHECKSUM.contains(&at) { b' ' } else { *byte })
    });
    written == Some(in_sum.sum())
}

fn is_cpio(head: &[u8]) -> bool {
    let is_new = head.starts_with(b"070701") || head.starts_with(b"070702");
    is_new && head.get(..CPIO_HEADER).is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tar header; `magic` is that of ustar, of GNU, or of none.
    fn tar(name: &str, magic: &[u8]) -> Vec<u8> {
        let mut header = vec![0; TAR_HEADER];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(b"00000000200\0");
        header[156] = b'0';
        header[257..257 + magic.len()].copy_from_slice(magic);
        header[TAR_CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[TAR_CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn i16_archives_and_other_compressions_are_known_by_their_first_bytes() {
        for (head, what) in [
            (&tar("access.log", b"ustar\x0000")[..], "a tar archive"),
            (&tar("access.log", b"ustar  \0"), "a tar archive"),
            (&tar("a", b""), "a tar archive"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (b"BZh91AY&SY", "a file of bzip2"),
            (b"\xfd7zXZ\0\0", "a file of xz"),
            (b"\x28\xb5\x2f\xfd\x04", "a file of zstd"),
            (b"\xff\xfe1\0", "a text in UTF-16"),
            (&[&b"070701"[..], &[b'0'; 104]].concat(), "a cpio archive"),
        ] {
            let FileKind::Other(kind) = FileKind::of(head) else { panic!("{what}: {head:?}") };
            assert_eq!(FileKind::check_decompressed(head), Err(kind));
            let text = kind.to_string();
            assert!(text.starts_with(what) && text.contains(" FILE | producer import"), "{text}");
        }
        assert_eq!(FileKind::of(b"\x1f\x8b\x08"), FileKind::Gzip);
        assert_eq!(FileKind::check_decompressed(b"\x1f\x8b\x08"), Err(GZIP_TWICE));
    }

    #[test]
    fn i16_lines_that_begin_with_any_host_are_lines() {
        for head in [
            "",
            "1",
            "BZh9.example - - [",
            "LZIP.example - - [",
            "070701.example - - [",
            "PK.example 203.0.113.7 - - [",
            "\u{feff}203.0.113.7 - - [",
            "{\"msec\":\"1\"}",
        ] {
            assert_eq!(FileKind::of(head.as_bytes()), FileKind::Lines, "{head}");
        }
        assert_eq!(FileKind::of(&[0; 600]), FileKind::Lines);
    }

    proptest! {
        #[test]
        fn f15_any_name_and_content_in_a_tar_is_refused_and_any_text_is_read(
            name in "[ -~]{1,99}", content in "[ -~\n]{0,800}"
        ) {
            let mut archive = tar(&name, b"ustar\x0000");
            archive.extend_from_slice(content.as_bytes());
            prop_assert_eq!(FileKind::of(&archive), FileKind::Other(TAR));
            let text = format!("203.0.113.7 {content}");
            prop_assert_eq!(FileKind::of(text.as_bytes()), FileKind::Lines);
        }
    }
}
