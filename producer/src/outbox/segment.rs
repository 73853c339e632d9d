//! A segment: a file of clicks in order, named by the sequence number of its first click.
//!
//! The writer only appends to segments, and the reader reads them up to a length that the outbox knows.
#![expect(clippy::disallowed_methods, reason = "the salt of a segment is random")]

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::outbox::frame::{FRAME_BYTES_MIN, FrameKey, Layout};
use crate::private_file;

/// Bytes before the first frame: the magic, the fingerprint of the schema, the salt, and a checksum of
/// these three and of the number of the first click.
pub const HEADER_BYTES: usize = 32;
/// The same as an offset.
pub const HEADER: u64 = HEADER_BYTES as u64;
/// The last byte is the version of the layout.
const MAGIC: [u8; 8] = *b"CLKTOUT2";
/// The magic of the first layout, whose header is magic, fingerprint, and number of the first click.
const FIRST_MAGIC: [u8; 8] = *b"CLKTOUT1";
/// Suffix of the name of each segment.
pub const SUFFIX: &str = ".clicks";
/// Most clicks of one segment: as many as fit into 64 MiB, and one more that begins before that end.
pub const CLICKS_MAX: u64 = (64 << 20) / FRAME_BYTES_MIN as u64 + 1;

/// Identifies the schema of the clicks of a segment: the start of its SHA-256.
pub type Fingerprint = [u8; 16];

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The schema of its clicks.
    pub fingerprint: Fingerprint,
    /// The layout of its frames.
    pub layout: Layout,
}

/// A new segment.
#[derive(Debug)]
pub struct NewSegment {
    /// Its file, for appending.
    pub file: File,
    /// Binds its frames to this segment.
    pub key: FrameKey,
}

/// The file of the segment whose first click has this number.
pub fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

/// The numbers of the first clicks of all segments in a folder, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        // A file whose name spells the number differently is no segment.
        firsts.extend(number.filter(|number| path(folder, *number).ends_with(&name)));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Creates an empty segment, and replaces one that holds no click. Leaves no file if it fails.
///
/// # Errors
/// An I/O error.
pub fn create(folder: &Path, first: u64, fingerprint: Fingerprint) -> io::Result<NewSegment> {
    let path = path(folder, first);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut salt = [0; 4];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    // Never 0, which is the salt in a frame of zeros.
    let salt = u32::from_le_bytes(salt) | 1;
    let mut header = Vec::from(MAGIC);
    header.extend_from_slice(&fingerprint);
    header.extend_from_slice(&salt.to_le_bytes());
    let sum = header_checksum(&header, first);
    header.extend_from_slice(&sum.to_le_bytes());
    let mut file = private_file::create_new(&path)?;
    file.write_all(&header).inspect_err(|_| {
        // It holds no click, and the disk needs its bytes.
        std::fs::remove_file(&path).ok();
    })?;
    Ok(NewSegment { file, key: key(fingerprint, first, salt) })
}

/// The key that binds frames to a segment.
pub fn key(fingerprint: Fingerprint, first: u64, salt: u32) -> FrameKey {
    let mut seed = crc32fast::Hasher::new();
    seed.update(&fingerprint);
    seed.update(&first.to_le_bytes());
    seed.update(&salt.to_le_bytes());
    FrameKey { salt, seed: seed.finalize() }
}

/// The header of the segment `first`; `None` if these bytes are damaged.
pub fn header(bytes: &[u8; HEADER_BYTES], first: u64) -> Option<Header> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (fingerprint, rest) = rest.split_first_chunk::<16>()?;
    let fingerprint = *fingerprint;
    if *magic == FIRST_MAGIC && rest == first.to_le_bytes() {
        return Some(Header { fingerprint, layout: Layout::First });
    }
    let (salt, sum) = rest.split_first_chunk::<4>()?;
    let is_own = *magic == MAGIC && sum == header_checksum(&bytes[..28], first).to_le_bytes();
    let key = key(fingerprint, first, u32::from_le_bytes(*salt));
    is_own.then_some(Header { fingerprint, layout: Layout::Keyed(key) })
}

/// The fingerprint in a damaged header.
pub fn damaged_fingerprint(bytes: &[u8; HEADER_BYTES]) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(&bytes[8..24]);
    fingerprint
}

fn header_checksum(header: &[u8], first: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(&first.to_le_bytes());
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_a_header_with_any_bit_turned_or_of_another_number_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let made = create(folder.path(), 7, [1; 16]).unwrap();
        let bytes: [u8; 32] = std::fs::read(path(folder.path(), 7)).unwrap().try_into().unwrap();
        let expected = Header { fingerprint: [1; 16], layout: Layout::Keyed(made.key) };
        assert_eq!(header(&bytes, 7), Some(expected));
        assert_eq!(header(&bytes, 8), None);
        for bit in 0..32 * 8 {
            let mut turned = bytes;
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(header(&turned, 7), None, "bit {bit}");
        }
    }

    #[test]
    fn a_file_with_another_spelling_of_a_number_is_no_segment() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["7.clicks", "+0000000000000000007.clicks", "x.clicks", "7.clicks.damaged"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(path(folder.path(), 8), "").unwrap();
        assert_eq!(list(folder.path()).unwrap(), [8]);
    }
}
