//! The body of a request: read within bounds of bytes and time, and decompressed within the same bytes.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use crate::collector::refusal::Refusal;

/// Bytes to decompress at once.
const CHUNK_BYTES: usize = 8 * 1024;
/// Most gzip members of a body: an empty one has 20 bytes, and takes as much time as one of a KiB.
const MEMBERS_MAX: usize = 1_024;

/// A body in one buffer, even if it arrives in many parts.
struct BodyBuffer {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl BodyBuffer {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    /// Appends a part. The buffer at most doubles, and never exceeds the bound.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`].
    fn push(&mut self, part: &[u8]) -> Result<(), Refusal> {
        let bytes = self.bytes.len().saturating_add(part.len());
        if bytes > self.bytes_max {
            return Err(Refusal::BodyTooLarge);
        }
        if bytes > self.bytes.capacity() {
            let doubled = bytes.max(2 * self.bytes.capacity()).max(CHUNK_BYTES);
            self.bytes.reserve_exact(doubled.min(self.bytes_max) - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

/// The declared length of a body.
pub(super) fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads a body to its end.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::BodyTooSlow`], [`Refusal::BodyCut`].
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    bytes_max: usize,
    time: Duration,
) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // If the declared length is too large, the body is refused before it arrives.
    if declared_bytes(headers).is_some_and(|bytes| bytes > bytes_max) {
        return Err(Refusal::BodyTooLarge);
    }
    let mut body = Box::pin(body);
    let read = async {
        let mut buffer = BodyBuffer::new(bytes_max);
        while let Some(frame) = body.frame().await {
            // Trailers are ignored.
            if let Ok(part) = frame.map_err(|_| Refusal::BodyCut)?.into_data() {
                buffer.push(&part)?;
            }
        }
        Ok(buffer.bytes)
    };
    tokio::time::timeout(time, read).await.unwrap_or(Err(Refusal::BodyTooSlow))
}

/// Whether a body is compressed by gzip.
///
/// # Errors
/// [`Refusal::Encoding`]: it has another compression.
pub(super) fn is_compressed(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().trim_ascii()) {
        None => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => Err(Refusal::Encoding),
    }
}

/// Decompresses a body.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::Gzip`].
pub(super) fn decompress(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let (mut rest, mut buffer) = (body, BodyBuffer::new(bytes_max));
    let mut chunk = [0; CHUNK_BYTES];
    for _ in 0..MEMBERS_MAX {
        let mut member = GzDecoder::new(rest);
        loop {
            match member.read(&mut chunk) {
                Ok(0) => break,
                Ok(bytes) => buffer.push(&chunk[..bytes])?,
                Err(_) => return Err(Refusal::Gzip),
            }
        }
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(buffer.bytes);
        }
    }
    Err(Refusal::Gzip)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::Full;
    use hyper::header::HeaderValue;

    use super::*;

    fn compressed(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn a_compressed_body_is_decompressed_to_its_bound_and_no_further() {
        let bomb = compressed(&vec![b' '; 10 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decompress(&bomb, 1 << 20), Err(Refusal::BodyTooLarge));
        let exact = vec![b'x'; 1 << 20];
        assert_eq!(decompress(&compressed(&exact), 1 << 20), Ok(exact));
        assert_eq!(decompress(b"a", 9), Err(Refusal::Gzip));
        assert_eq!(decompress(&compressed(b"abc")[..12], 9), Err(Refusal::Gzip));
    }

    #[test]
    fn a_body_is_plain_or_gzip() {
        let of = |encoding| {
            is_compressed(&HeaderMap::from_iter([(
                CONTENT_ENCODING,
                HeaderValue::from_static(encoding),
            )]))
        };
        assert_eq!(
            (is_compressed(&HeaderMap::new()), of("identity"), of("GZIP")),
            (Ok(false), Ok(false), Ok(true))
        );
        assert_eq!((of("br"), of("gzip, gzip")), (Err(Refusal::Encoding), Err(Refusal::Encoding)));
    }

    #[test]
    fn h8_the_memory_of_a_body_is_never_larger_than_its_bound() {
        for bytes_max in [1, 1_024, CHUNK_BYTES, 100_001, 1 << 20] {
            for part in [1, 7, 4_096, 70_000] {
                let mut buffer = BodyBuffer::new(bytes_max);
                let part = vec![b'x'; part];
                while buffer.push(&part).is_ok() {
                    assert!(buffer.bytes.capacity() <= bytes_max, "{bytes_max}");
                }
                assert!(buffer.bytes.len() + part.len() > bytes_max);
            }
        }
    }

    #[test]
    fn h8_many_members_of_gzip_count_together_and_take_bounded_time() {
        let member = compressed(b"0123456789");
        assert_eq!(decompress(&member.repeat(3), 30).map(|bytes| bytes.len()), Ok(30));
        assert_eq!(decompress(&member.repeat(4), 30), Err(Refusal::BodyTooLarge));
        let empty = compressed(b"");
        assert_eq!(decompress(&empty.repeat(MEMBERS_MAX), 30), Ok(Vec::new()));
        // As many members as a body of a mebibyte can hold are not read to their end.
        for members in [MEMBERS_MAX + 1, (1 << 20) / empty.len()] {
            assert_eq!(decompress(&empty.repeat(members), 30), Err(Refusal::Gzip));
        }
        assert_eq!(decompress(&[&member[..], b"x"].concat(), 30), Err(Refusal::Gzip));
        assert_eq!(decompress(b"", 30), Err(Refusal::Gzip));
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_bound_and_no_further() {
        for (bytes, expected) in [(9, Ok(9)), (10, Err(Refusal::BodyTooLarge))] {
            let body = Full::new(Bytes::from(vec![b'x'; bytes]));
            let read = read(&HeaderMap::new(), body, 9, Duration::from_secs(9)).await;
            assert_eq!(read.map(|bytes| bytes.len()), expected);
        }
    }
}
