//! Bytes packed as the server reads them with `decompress=1`: a checksum, a method, two lengths,
//! LZ4. Pure.
//!
//! Packed pieces that follow each other are one body, so each can be kept and sent by itself.

use bytes::Bytes;

/// Bytes of the checksum, which is of all that follows it.
const CHECKSUM: usize = 16;
/// Bytes of method and lengths; they count towards the packed length.
const HEAD: usize = 9;
const LZ4: u8 = 0x82;

/// Bytes that are packed together, far more than LZ4 looks back.
const PIECE: usize = 256 << 10;

/// Packs `bytes`; `room` is memory to write to. What it returns is kept a while and takes no more
/// than it needs.
pub(crate) fn pack(bytes: &[u8], room: &mut Vec<u8>) -> Bytes {
    room.clear();
    for piece in bytes.chunks(PIECE) {
        append(piece, room);
    }
    Bytes::copy_from_slice(room)
}

#[expect(clippy::expect_used, reason = "there is room for the worst, and a piece is small")]
fn append(piece: &[u8], packed: &mut Vec<u8>) {
    let start = packed.len();
    let worst = lz4_flex::block::get_maximum_output_size(piece.len());
    packed.resize(start + CHECKSUM + HEAD + worst, 0);
    let (sum, rest) = packed[start..].split_at_mut(CHECKSUM);
    let written = lz4_flex::block::compress_into(piece, &mut rest[HEAD..]);
    let length = HEAD + written.expect("room for the worst");
    rest[0] = LZ4;
    for (place, length) in [(1, length), (5, piece.len())] {
        let length = u32::try_from(length).expect("a length far below 4 GiB");
        rest[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }
    // The server writes the halves of the hash the other way round than CityHash prints them.
    let hash = cityhash_rs::cityhash_102_128(&rest[..length]).rotate_left(64);
    sum.copy_from_slice(&hash.to_le_bytes());
    packed.truncate(start + CHECKSUM + length);
}

/// What a server reads of packed pieces that follow each other; none where they are no such pieces.
pub fn unpack(mut pieces: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !pieces.is_empty() {
        let lengths = pieces.get(CHECKSUM + 1..CHECKSUM + HEAD)?;
        let (packed, plain) = (lengths.first_chunk()?, lengths.last_chunk()?);
        let (packed, plain) = (u32::from_le_bytes(*packed), u32::from_le_bytes(*plain));
        let (piece, rest) = pieces.split_at_checked(CHECKSUM + usize::try_from(packed).ok()?)?;
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
    fn pieces_come_back_as_one_body() {
        let long = "a click ".repeat(100_000);
        let mut room = Vec::new();
        let packed = pack(long.as_bytes(), &mut room);
        assert!(packed.len() < long.len() / 50);
        let body = [packed, pack(b"end", &mut room), pack(b"", &mut room)].concat();
        assert_eq!(unpack(&body), Some([long.as_bytes(), b"end"].concat()));
        assert_eq!(unpack(&body[..body.len() - 1]), None);
    }
}
