//! ClickHouse's own compressed blocks (`compress=1`, `decompress=1`): a 16-byte
//! CityHash checksum, a method byte, two little-endian lengths, the data. Pure.
//! LZ4 blocks go out; LZ4, Zstandard and uncompressed ones come in, another method is refused.

use crate::exception::Exception;

/// Bytes of the checksum before each block.
const CHECKSUM_BYTES: usize = 16;
/// Bytes of method and lengths; they count towards the compressed length.
const HEADER_BYTES: usize = 9;
/// Largest block accepted, packed or unpacked: bounds what one block can make us allocate.
const BLOCK_BYTES_MAX: usize = 128 << 20;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;
const NONE: u8 = 0x02;

fn checksum(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // ClickHouse writes the two halves of the hash the other way round than CityHash prints them.
    cityhash_rs::cityhash_102_128(block).rotate_left(64).to_le_bytes()
}

/// Packs `data` into one LZ4 block.
pub(crate) fn pack(data: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(data);
    let lengths = [packed.len() + HEADER_BYTES, data.len()];
    let mut block = vec![0; CHECKSUM_BYTES];
    block.push(LZ4);
    for length in lengths {
        // The caller cuts data into chunks far below 4 GiB.
        block.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    block.extend(packed);
    let sum = checksum(&block[CHECKSUM_BYTES..]);
    block[..CHECKSUM_BYTES].copy_from_slice(&sum);
    block
}

/// Unpacks a stream of blocks that arrives in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    pending: Vec<u8>,
}

impl Unpacker {
    /// Adds received bytes and returns what they complete, in order.
    ///
    /// # Errors
    /// `CHECKSUM_DOESNT_MATCH` (40), `UNKNOWN_COMPRESSION_METHOD` (89),
    /// `TOO_LARGE_SIZE_COMPRESSED` (39) or `CANNOT_DECOMPRESS` (271): the stream is lost then.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Exception> {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        while let Some((data, used)) = unpack_one(&self.pending[at..])? {
            out.push(data);
            at += used;
        }
        self.pending.drain(..at);
        Ok(out)
    }

    /// Says whether the stream ended at the end of a block.
    ///
    /// # Errors
    /// `CANNOT_READ_ALL_DATA` (33) if part of a block is missing.
    pub(crate) fn finish(&self) -> Result<(), Exception> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(Exception::new(
            33,
            "Cannot read all data: a compressed block breaks off",
            "CANNOT_READ_ALL_DATA",
        ))
    }
}

fn length_at(block: &[u8], at: usize) -> usize {
    let bytes = [block[at], block[at + 1], block[at + 2], block[at + 3]];
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

fn unpack_one(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Exception> {
    if bytes.len() < CHECKSUM_BYTES + HEADER_BYTES {
        return Ok(None);
    }
    let (sum, block) = bytes.split_at(CHECKSUM_BYTES);
    let (packed_len, data_len) = (length_at(block, 1), length_at(block, 5));
    if packed_len > BLOCK_BYTES_MAX || data_len > BLOCK_BYTES_MAX || packed_len < HEADER_BYTES {
        let text = format!("Too large size_compressed: {packed_len}. Most likely corrupted data");
        return Err(Exception::new(39, &text, "TOO_LARGE_SIZE_COMPRESSED"));
    }
    let Some(block) = block.get(..packed_len) else { return Ok(None) };
    if checksum(block) != sum {
        let text =
            "Checksum doesn't match: corrupted data. The request's body was damaged on its way";
        return Err(Exception::new(40, text, "CHECKSUM_DOESNT_MATCH"));
    }
    let packed = &block[HEADER_BYTES..];
    let data = match block[0] {
        LZ4 => whole(lz4_flex::block::decompress(packed, data_len).ok(), data_len)?,
        ZSTD => whole(zstd::bulk::decompress(packed, data_len).ok(), data_len)?,
        NONE => packed.to_vec(),
        other => {
            let text = format!(
                "Unknown compression method {other:#04x}: this front reads LZ4 (0x82), ZSTD (0x90) and NONE (0x02)"
            );
            return Err(Exception::new(89, &text, "UNKNOWN_COMPRESSION_METHOD"));
        }
    };
    Ok(Some((data, CHECKSUM_BYTES + packed_len)))
}

fn whole(data: Option<Vec<u8>>, len: usize) -> Result<Vec<u8>, Exception> {
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
    fn blocks_survive_any_cutting() {
        let data = sample();
        let mut wire = pack(&data);
        wire.extend(pack(b""));
        wire.extend(pack(b"tail"));
        for size in [1, 7, 25, 1 << 20] {
            let mut unpacker = Unpacker::default();
            let mut seen = Vec::new();
            for piece in wire.chunks(size) {
                seen.extend(unpacker.push(piece).unwrap().concat());
            }
            unpacker.finish().unwrap();
            assert_eq!(seen, [&data[..], b"tail"].concat());
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let wire = pack(&sample()[..400]);
        for at in 0..wire.len() {
            let mut bad = wire.clone();
            bad[at] ^= 1;
            let mut unpacker = Unpacker::default();
            let outcome = unpacker.push(&bad);
            // A longer length makes the block wait for bytes that never come.
            assert!(outcome.is_err() || unpacker.finish().is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_bad_checksum_has_clickhouses_code() {
        let mut wire = pack(b"abc");
        wire[0] ^= 1;
        assert_eq!(Unpacker::default().push(&wire).unwrap_err().code, 40);
    }

    #[test]
    fn blocks_of_zstandard_are_read_too() {
        let mut wire = pack(b"");
        let packed = zstd::bulk::compress(b"abc", 3).unwrap();
        wire.truncate(CHECKSUM_BYTES);
        wire.push(ZSTD);
        for length in [packed.len() + HEADER_BYTES, 3] {
            wire.extend(u32::try_from(length).unwrap().to_le_bytes());
        }
        wire.extend(packed);
        let sum = checksum(&wire[CHECKSUM_BYTES..]);
        wire[..CHECKSUM_BYTES].copy_from_slice(&sum);
        assert_eq!(Unpacker::default().push(&wire).unwrap(), [b"abc"]);
    }

    #[test]
    fn a_block_that_breaks_off_is_not_the_end() {
        let wire = pack(b"abc");
        let mut unpacker = Unpacker::default();
        assert!(unpacker.push(&wire[..wire.len() - 1]).unwrap().is_empty());
        assert_eq!(unpacker.finish().unwrap_err().code, 33);
    }
}
