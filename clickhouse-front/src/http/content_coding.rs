//! Content codings of HTTP (`Content-Encoding`): which one an answer gets, and how bodies
//! are encoded and decoded a piece at a time. Pure. ClickHouse's own blocks are `compress.rs`.

use std::io::{self, Read, Write as _};

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use lz4_flex::frame::{FrameDecoder, FrameEncoder};

use crate::exception::Exception;

/// Bytes read from an encoded body at a time.
const INPUT_BYTES: usize = 64 << 10;

/// A coding that both directions know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    /// Zstandard.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// gzip.
    Gzip,
    /// zlib, which HTTP calls deflate.
    Deflate,
}

impl ContentCoding {
    /// In the order in which ClickHouse prefers them.
    const ALL: [Self; 4] = [Self::Zstd, Self::Lz4, Self::Gzip, Self::Deflate];

    /// Its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The best one that an `Accept-Encoding` header accepts.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let takes = |coding: &Self| {
            header.split(',').any(|one| {
                let (name, quality) = one.split_once(';').unwrap_or((one, ""));
                let never = quality.trim().strip_prefix("q=").and_then(|q| q.parse().ok());
                name.trim().eq_ignore_ascii_case(coding.name()) && never != Some(0.0)
            })
        };
        Self::ALL.into_iter().find(takes)
    }

    /// The coding that a `Content-Encoding` header names, if it names one.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` (48) for one that is not known here.
    pub(crate) fn of_body(header: &str) -> Result<Option<Self>, Exception> {
        let name = header.trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        let known = Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name()));
        let text = format!(
            "Unknown compression method {name}: this front reads zstd, lz4, gzip and deflate"
        );
        known.map(Some).ok_or_else(|| Exception::new(48, &text, "NOT_IMPLEMENTED"))
    }

    /// Decodes what `source` reads.
    ///
    /// # Errors
    /// The library's, when it has no memory.
    pub(crate) fn decode(self, source: impl Read + Send + 'static) -> io::Result<Decoded> {
        Ok(match self {
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(source)?),
            Self::Lz4 => Box::new(Frames(FrameDecoder::new(Tail { source, last: [1; 8] }))),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Self::Deflate => Box::new(Inflate::new(source)),
        })
    }

    /// The exception for a damaged body of this coding.
    pub(crate) fn damaged(self, error: &io::Error) -> Exception {
        let (code, name) = match self {
            Self::Zstd => (562, "ZSTD_DECODER_FAILED"),
            Self::Lz4 => (617, "LZ4_DECODER_FAILED"),
            Self::Gzip | Self::Deflate => (354, "ZLIB_INFLATE_FAILED"),
        };
        let text =
            format!("The request's body is truncated or is not {} data: {error}", self.name());
        Exception::new(code, &text, name)
    }
}

/// A body without its coding.
pub(crate) type Decoded = Box<dyn Read + Send>;

/// LZ4 frames, of which the last must have its end mark: the library accepts a body that is
/// truncated between two blocks as complete.
struct Frames<R: Read>(FrameDecoder<Tail<R>>);

/// A source that remembers its last bytes.
struct Tail<R> {
    source: R,
    last: [u8; 8],
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(out)?;
        for &byte in &out[len.saturating_sub(8)..len] {
            self.last.rotate_left(1);
            self.last[7] = byte;
        }
        Ok(len)
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(out)?;
        let last = self.0.get_ref().last;
        // Four zeros, and the checksum of the content where there is one. An empty body is valid.
        let ended = last[4..] == [0; 4] || last[..4] == [0; 4] || last == [1; 8];
        if len == 0 && !out.is_empty() && !ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(len)
    }
}

/// zlib, whose end must be read: flate2's reader accepts a truncated body as complete.
struct Inflate<R> {
    source: R,
    state: Decompress,
    input: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R> Inflate<R> {
    fn new(source: R) -> Self {
        Self { source, state: Decompress::new(true), input: Vec::new(), at: 0, ended: false }
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !out.is_empty() {
            if self.at == self.input.len() {
                self.input.resize(INPUT_BYTES, 0);
                let len = self.source.read(&mut self.input)?;
                self.input.truncate(len);
                self.at = 0;
                if len == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let before = (self.state.total_in(), self.state.total_out());
            let input = &self.input[self.at..];
            let status = self.state.decompress(input, out, FlushDecompress::None)?;
            let step = |now: u64, before| usize::try_from(now - before).map_err(io::Error::other);
            self.at += step(self.state.total_in(), before.0)?;
            self.ended = status == Status::StreamEnd;
            let made = step(self.state.total_out(), before.1)?;
            if made > 0 {
                return Ok(made);
            }
        }
        Ok(0)
    }
}

/// Encodes an answer as it is produced.
pub(crate) enum Encoder {
    /// Zstandard.
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// LZ4 frames.
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    /// gzip.
    Gzip(GzEncoder<Vec<u8>>),
    /// zlib.
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// `level` is ClickHouse's `http_zlib_compression_level`, which it uses for all codings.
    ///
    /// # Errors
    /// The library's, when it has no memory.
    pub(crate) fn new(coding: ContentCoding, level: u8) -> io::Result<Self> {
        let flate = Compression::new(level.min(9).into());
        Ok(match coding {
            ContentCoding::Zstd => {
                let level = i32::from(level.min(19));
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?)
            }
            ContentCoding::Lz4 => Self::Lz4(Box::new(FrameEncoder::new(Vec::new()))),
            ContentCoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate)),
            ContentCoding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), flate)),
        })
    }

    /// Encodes `data` so that the client can decode it without what comes later.
    ///
    /// # Errors
    /// The library's.
    pub(crate) fn push(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        macro_rules! push {
            ($encoder:expr) => {{
                $encoder.write_all(data)?;
                $encoder.flush()?;
                Ok(std::mem::take($encoder.get_mut()))
            }};
        }
        match self {
            Self::Zstd(encoder) => push!(encoder),
            Self::Lz4(encoder) => push!(encoder),
            Self::Gzip(encoder) => push!(encoder),
            Self::Deflate(encoder) => push!(encoder),
        }
    }

    /// The end of the coding.
    ///
    /// # Errors
    /// The library's.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(coding: ContentCoding, pieces: &[&[u8]]) -> Vec<u8> {
        let mut encoder = Encoder::new(coding, 3).unwrap();
        let mut wire: Vec<u8> =
            pieces.iter().flat_map(|piece| encoder.push(piece).unwrap()).collect();
        wire.extend(encoder.finish().unwrap());
        wire
    }

    fn decoded(coding: ContentCoding, wire: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        coding.decode(io::Cursor::new(wire))?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_coding_decodes_what_it_encoded() {
        let data: Vec<u8> = (0..300_000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        for coding in ContentCoding::ALL {
            for pieces in [vec![], vec![&data[..]], vec![&data[..7], b"", &data[7..]]] {
                let back = decoded(coding, encoded(coding, &pieces)).unwrap();
                assert!(back == pieces.concat(), "{coding:?}");
            }
        }
    }

    #[test]
    fn a_truncated_body_is_an_error() {
        for coding in ContentCoding::ALL {
            let mut wire = encoded(coding, &[&[b'x'; 1000], b"yz"]);
            wire.truncate(wire.len() - 3);
            assert!(decoded(coding, wire).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn the_best_coding_that_both_sides_know_is_chosen() {
        for (header, coding) in [
            ("gzip, deflate, br", Some(ContentCoding::Gzip)),
            ("lz4;q=1, ZSTD;q=0, gzip", Some(ContentCoding::Lz4)),
            ("zstd,lz4", Some(ContentCoding::Zstd)),
            ("deflate", Some(ContentCoding::Deflate)),
            ("br, identity", None),
            ("", None),
        ] {
            assert_eq!(ContentCoding::accepted(header), coding, "{header}");
        }
        assert_eq!(ContentCoding::of_body("br").unwrap_err().code, 48);
        assert_eq!(ContentCoding::of_body(" GZIP ").unwrap(), Some(ContentCoding::Gzip));
    }
}
