//! The body of a request, read within bounds of bytes and time, decompressed within the same bytes.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use crate::collector::refusal::Refusal;

/// Reads a body to its end.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::BodyTooSlow`], [`Refusal::BodyCut`].
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    bytes_max: usize,
    time: Duration,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A body with too large a Content-Length is refused before it arrives.
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > bytes_max as u64) {
        return Err(Refusal::BodyTooLarge);
    }
    let collected = Box::pin(Limited::new(body, bytes_max).collect());
    match tokio::time::timeout(time, collected).await {
        Err(_) => Err(Refusal::BodyTooSlow),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLarge),
        Ok(Err(_)) => Err(Refusal::BodyCut),
    }
}

/// Whether a body is compressed by gzip.
///
/// # Errors
/// [`Refusal::Encoding`]: it is compressed otherwise.
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
pub(super) fn decompress(body: &[u8], bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut decompressed = Vec::new();
    let limit = bytes_max as u64 + 1;
    match MultiGzDecoder::new(body).take(limit).read_to_end(&mut decompressed) {
        Ok(count) if count > bytes_max => Err(Refusal::BodyTooLarge),
        Ok(_) => Ok(decompressed.into()),
        Err(_) => Err(Refusal::Gzip),
    }
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
        assert_eq!(decompress(&compressed(&exact), 1 << 20), Ok(exact.into()));
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

    #[tokio::test]
    async fn a_body_is_read_to_its_bound_and_no_further() {
        for (bytes, expected) in [(9, Ok(9)), (10, Err(Refusal::BodyTooLarge))] {
            let body = Full::new(Bytes::from(vec![b'x'; bytes]));
            let read = read(&HeaderMap::new(), body, 9, Duration::from_secs(9)).await;
            assert_eq!(read.map(|bytes| bytes.len()), expected);
        }
    }
}
