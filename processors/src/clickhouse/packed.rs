//! Bytes packed as the server reads them with `decompress=1`: a checksum, a method, two lengths,
//! LZ4. Pure.
//!
//! Packed pieces that follow each other are one body, so each can be kept and sent by itself.

/// Bytes of the checksum, which is of all that follows it.
const CHECKSUM: usize = 16;
/// Bytes of method and lengths; they count towards the packed length.
const HEAD: usize = 9;
const LZ4: u8 = 0x82;

/// Packs `bytes`; `room` is memory to write to.
///
/// # Panics
/// Bytes of 2 GiB and more. A block has far fewer.
#[expect(clippy::expect_used, reason = "there is room for the worst, and lengths are small")]
pub(super) fn pack<'r>(bytes: &[u8], room: &'r mut Vec<u8>) -> &'r [u8] {
    let worst = lz4_flex::block::get_maximum_output_size(bytes.len());
    room.resize(room.len().max(CHECKSUM + HEAD + worst), 0);
    let written = lz4_flex::block::compress_into(bytes, &mut room[CHECKSUM + HEAD..]);
    let packed = HEAD + written.expect("room for the worst");
    let (sum, rest) = room.split_at_mut(CHECKSUM);
    rest[0] = LZ4;
    for (place, length) in [(1, packed), (5, bytes.len())] {
        let length = u32::try_from(length).expect("a length below 4 GiB");
        rest[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }
    // The server writes the halves of the hash the other way round than CityHash prints them.
    let hash = cityhash_rs::cityhash_102_128(&rest[..packed]).rotate_left(64);
    sum.copy_from_slice(&hash.to_le_bytes());
    &room[..CHECKSUM + packed]
}

/// What [`pack`] packed, piece after piece.
#[cfg(test)]
pub(super) fn unpack(mut pieces: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !pieces.is_empty() {
        let length =
            |at: usize| u32::from_le_bytes(pieces[at..at + 4].try_into().unwrap()) as usize;
        let (packed, plain) = (length(CHECKSUM + 1), length(CHECKSUM + 5));
        let (piece, rest) = pieces.split_at(CHECKSUM + packed);
        bytes.extend(lz4_flex::block::decompress(&piece[CHECKSUM + HEAD..], plain).unwrap());
        pieces = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_as_one_body() {
        let mut room = Vec::new();
        let long = "a click ".repeat(10_000);
        let mut body = pack(long.as_bytes(), &mut room).to_vec();
        assert!(body.len() < long.len() / 50);
        body.extend_from_slice(pack(b"end", &mut room));
        body.extend_from_slice(pack(b"", &mut room));
        assert_eq!(unpack(&body), [long.as_bytes(), b"end"].concat());
    }
}
