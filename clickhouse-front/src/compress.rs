//! ClickHouse's own compressed blocks (`compress=1`, `decompress=1`): a 16-byte
//! CityHash checksum, a method byte, two little-endian lengths, the data. Pure.
//! LZ4 blocks go out; LZ4, Zstandard and uncompressed ones come in, another method is refused.

use crate::exception::Exception;

/// Bytes of the checksum before each block.
const CHECKSUM_BYTES: usize = 16;
/// Bytes of method and lengths; they count towards the compressed length.
const HEADER_BYTES: usize = 9;
/// Largest block accepted, compressed or not: bounds what one block can make us allocate.
const BLOCK_BYTES_MAX: usize = 128 << 20;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;
const NONE: u8 = 0x02;

fn checksum(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // ClickHouse writes the two halves of the hash the other way round than CityHash prints them.
    cityhash_rs::cityhash_102_128(block).rotate_left(64).to_le_bytes()
}

/// Compresses `data` into one LZ4 block.
///
/// # Panics
/// The data is larger than 4 GiB; the caller cuts it into chunks.
#[expect(clippy::expect_used, reason = "an internal invariant")]
pub(crate) fn compress(data: &[u8]) -> Vec<u8> {
    let compressed = lz4_flex::block::compress(data);
    let lengths = [compressed.len() + HEADER_BYTES, data.len()];
    let mut block = vec![0; CHECKSUM_BYTES];
    block.push(LZ4);
    for length in lengths {
        let length = u32::try_from(length).expect("a chunk of an answer is below 4 GiB");
        block.extend(length.to_le_bytes());
    }
    block.extend(compressed);
    let sum = checksum(&block[CHECKSUM_BYTES..]);
    block[..CHECKSUM_BYTES].copy_from_slice(&sum);
    block
}

/// Decompresses a stream of blocks that arrives in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct BlockDecoder {
    pending: Vec<u8>,
}

impl BlockDecoder {
    /// Adds received bytes and returns what they complete, in order.
    ///
    /// # Errors
    /// `CHECKSUM_DOESNT_MATCH` (40), `UNKNOWN_COMPRESSION_METHOD` (89),
    /// `TOO_LARGE_SIZE_COMPRESSED` (39) or `CANNOT_DECOMPRESS` (271): the rest of the stream cannot be decoded then.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Exception> {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        while let Some((data, used)) = decompress_one(&self.pending[at..])? {
            out.push(data);
            at += used;
        }
        self.pending.drain(..at);
        Ok(out)
    }

    /// Checks that the stream ended at the end of a block.
    ///
    /// # Errors
    /// `CANNOT_READ_ALL_DATA` (33) if part of a block is missing.
    pub(crate) fn finish(&self) -> Result<(), Exception> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(Exception::new(
            33,
            "Cannot read all data: a compressed block is truncated",
            "CANNOT_READ_ALL_DATA",
        ))
    }
}

#[expect(clippy::expect_used, reason = "an internal invariant")]
fn length_at(block: &[u8], at: usize) -> usize {
    let bytes = [block[at], block[at + 1], block[at + 2], block[at + 3]];
    usize::try_from(u32::from_le_bytes(bytes)).expect("the engine is for 64 bits")
}

fn decompress_one(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Exception> {
    if bytes.len() < CHECKSUM_BYTES + HEADER_BYTES {
        return Ok(None);
    }
    let (sum, block) = bytes.split_at(CHECKSUM_BYTES);
    let (compressed_len, data_len) = (length_at(block, 1), length_at(block, 5));
    if compressed_len > BLOCK_BYTES_MAX
        || data_len > BLOCK_BYTES_MAX
        || compressed_len < HEADER_BYTES
    {
        let text =
            format!("Too large size_compressed: {compressed_len}. Most likely corrupted data");
        return Err(Exception::new(39, &text, "TOO_LARGE_SIZE_COMPRESSED"));
    }
    let Some(block) = block.get(..compressed_len) else { return Ok(None) };
    if checksum(block) != sum {
        let text =
            "Checksum doesn't match: corrupted data. The request's body was damaged in transit";
        return Err(Exception::new(40, text, "CHECKSUM_DOESNT_MATCH"));
    }
    let compressed = &block[HEADER_BYTES..];
    let data = match block[0] {
        LZ4 => of_length(lz4_flex::block::decompress(compressed, data_len).ok(), data_len)?,
        ZSTD => of_length(zstd::bulk::decompress(compressed, data_len).ok(), data_len)?,
        NONE => compressed.to_vec(),
        other => {
            let text = format!(
                "Unknown compression method {other:#04x}: this front reads LZ4 (0x82), ZSTD (0x90) and NONE (0x02)"
            );
            return Err(Exception::new(89, &text, "UNKNOWN_COMPRESSION_METHOD"));
        }
    };
    Ok(Some((data, CHECKSUM_BYTES + compressed_len)))
}

fn of_length(data: Option<Vec<u8>>, len: usize) -> Result<Vec<u8>, Exception> {
    data.filter(|data| data.len() == len).ok_or_else(|| {
        Exception::new(271, "Cannot decompress the data of a block", "CANNOT_DECOMPRESS")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..100_000u32).flat_map(|n| (n % 251).to_le_bytes()).collect()
    }

    #[test]
    fn blocks_are_decoded_from_pieces_of_any_size() {
        let data = sample();
        let mut wire = compress(&data);
        wire.extend(compress(b""));
        wire.extend(compress(b"tail"));
        for size in [1, 7, 25, 1 << 20] {
            let mut decoder = BlockDecoder::default();
            let mut data_read = Vec::new();
            for piece in wire.chunks(size) {
                data_read.extend(decoder.push(piece).unwrap().concat());
            }
            decoder.finish().unwrap();
            assert_eq!(data_read, [&data[..], b"tail"].concat());
        }
    }

    #[test]
    fn one_flipped_bit_in_any_byte_is_detected() {
        let wire = compress(&sample()[..400]);
        for at in 0..wire.len() {
            let mut bad = wire.clone();
            bad[at] ^= 1;
            let mut decoder = BlockDecoder::default();
            let outcome = decoder.push(&bad);
            // A longer length makes the block wait for bytes that never come.
            assert!(outcome.is_err() || decoder.finish().is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_bad_checksum_has_clickhouses_code() {
        let mut wire = compress(b"abc");
        wire[0] ^= 1;
        assert_eq!(BlockDecoder::default().push(&wire).unwrap_err().code, 40);
    }

    #[test]
    fn blocks_of_zstandard_are_read_too() {
        let mut wire = compress(b"");
        let compressed = zstd::bulk::compress(b"abc", 3).unwrap();
        wire.truncate(CHECKSUM_BYTES);
        wire.push(ZSTD);
        for length in [compressed.len() + HEADER_BYTES, 3] {
            wire.extend(u32::try_from(length).unwrap().to_le_bytes());
        }
        wire.extend(compressed);
        let sum = checksum(&wire[CHECKSUM_BYTES..]);
        wire[..CHECKSUM_BYTES].copy_from_slice(&sum);
        assert_eq!(BlockDecoder::default().push(&wire).unwrap(), [b"abc"]);
    }

    #[test]
    fn a_truncated_block_is_an_error() {
        let wire = compress(b"abc");
        let mut decoder = BlockDecoder::default();
        assert!(decoder.push(&wire[..wire.len() - 1]).unwrap().is_empty());
        assert_eq!(decoder.finish().unwrap_err().code, 33);
    }
}
