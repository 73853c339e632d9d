//! ClickHouse's compressed blocks, as the server reads them with `decompress=1`: a checksum, a method,
//! two lengths, LZ4. Pure.
//!
//! Consecutive blocks form one body, so that each block can be kept and sent separately.

use bytes::Bytes;

/// Bytes of the checksum, which covers all bytes after it.
const CHECKSUM: usize = 16;
/// Bytes of method and lengths; they count towards the compressed length.
const HEAD: usize = 9;
const LZ4: u8 = 0x82;

/// Bytes that are compressed together, far more than the window of LZ4.
const PIECE: usize = 256 << 10;

/// Compresses `bytes`, with `buffer` as temporary memory. The result is kept until its insert is
/// acknowledged, so it is copied into memory of its exact size.
pub(crate) fn compress(bytes: &[u8], buffer: &mut Vec<u8>) -> Bytes {
    buffer.clear();
    for piece in bytes.chunks(PIECE) {
        append(piece, buffer);
    }
    Bytes::copy_from_slice(buffer)
}

#[expect(
    clippy::expect_used,
    reason = "the buffer has the worst case's length, and a piece is small"
)]
fn append(piece: &[u8], compressed: &mut Vec<u8>) {
    let start = compressed.len();
    let worst = lz4_flex::block::get_maximum_output_size(piece.len());
    compressed.resize(start + CHECKSUM + HEAD + worst, 0);
    let (sum, rest) = compressed[start..].split_at_mut(CHECKSUM);
    let written = lz4_flex::block::compress_into(piece, &mut rest[HEAD..]);
    let length = HEAD + written.expect("the buffer has the length of the worst case");
    rest[0] = LZ4;
    for (offset, length) in [(1, length), (5, piece.len())] {
        let length = u32::try_from(length).expect("a length far below 4 GiB");
        rest[offset..offset + 4].copy_from_slice(&length.to_le_bytes());
    }
    // The server writes the two halves of the hash in the reverse order of CityHash.
    let hash = cityhash_rs::cityhash_102_128(&rest[..length]).rotate_left(64);
    sum.copy_from_slice(&hash.to_le_bytes());
    compressed.truncate(start + CHECKSUM + length);
}

/// The bytes that a server reads from consecutive compressed blocks; `None` if they are not valid.
pub fn decompress(mut pieces: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !pieces.is_empty() {
        let lengths = pieces.get(CHECKSUM + 1..CHECKSUM + HEAD)?;
        let (compressed, plain) = (lengths.first_chunk()?, lengths.last_chunk()?);
        let (compressed, plain) = (u32::from_le_bytes(*compressed), u32::from_le_bytes(*plain));
        let (piece, rest) =
            pieces.split_at_checked(CHECKSUM + usize::try_from(compressed).ok()?)?;
        let plain = usize::try_from(plain).ok()?;
        bytes.extend(lz4_flex::block::decompress(piece.get(CHECKSUM + HEAD..)?, plain).ok()?);
        pieces = rest;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_decompress_as_one_body() {
        let long = "a click ".repeat(100_000);
        let mut buffer = Vec::new();
        let compressed = compress(long.as_bytes(), &mut buffer);
        assert!(compressed.len() < long.len() / 50);
        let body = [compressed, compress(b"end", &mut buffer), compress(b"", &mut buffer)].concat();
        assert_eq!(decompress(&body), Some([long.as_bytes(), b"end"].concat()));
        assert_eq!(decompress(&body[..body.len() - 1]), None);
    }
}
