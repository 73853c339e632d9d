//! `multipart/form-data`: the official clients send query parameters in forms, and
//! all clients send external tables in them. Pure; a table's data need not be text.

use crate::exception::Exception;

/// One field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormField {
    /// Its name.
    pub(crate) name: String,
    /// It is a file: the data of an external table.
    pub(crate) file: bool,
    /// Its value.
    pub(crate) value: Vec<u8>,
}

/// The boundary of a `multipart/form-data` content type.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"').to_owned())
}

/// Reads the fields of a form.
///
/// # Errors
/// `BAD_REQUEST_PARAMETER` (408) for a malformed form.
pub(crate) fn fields(body: &[u8], boundary: &str) -> Result<Vec<FormField>, Exception> {
    let broken = || {
        Exception::new(
            408,
            "The multipart form of the request is malformed",
            "BAD_REQUEST_PARAMETER",
        )
    };
    let delimiter = format!("--{boundary}").into_bytes();
    let mut fields = Vec::new();
    let (_, mut rest) = split(body, &delimiter).ok_or_else(broken)?;
    loop {
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        let (part, after) = split(rest, &delimiter).ok_or_else(broken)?;
        rest = after;
        let (head, value) = split(part, b"\r\n\r\n").ok_or_else(broken)?;
        let value = value.strip_suffix(b"\r\n").ok_or_else(broken)?;
        let head = String::from_utf8_lossy(head);
        // `filename="` ends in `name="`, too.
        let name = head.split(';').find_map(|part| part.trim().strip_prefix("name=\""));
        let name = name.and_then(|rest| rest.split('"').next()).ok_or_else(broken)?;
        let file = head.contains("filename=");
        fields.push(FormField { name: name.to_owned(), file, value: value.to_owned() });
    }
}

/// What is before and after the first `mark`.
fn split<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if mark.is_empty() {
        return None;
    }
    let at = text.windows(mark.len()).position(|window| window == mark)?;
    Some((&text[..at], &text[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_form_are_read() {
        let marker = boundary("multipart/form-data; boundary=xyz").unwrap();
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT\r\n1\r\n--xyz\r\nContent-Disposition: form-data; name=\"t\"; filename=\"t.bin\"\r\n\r\n\xff\0\r\n--xyz--\r\n";
        let field = |name: &str, file, value: &[u8]| FormField {
            name: name.to_owned(),
            file,
            value: value.to_owned(),
        };
        let expected = [field("query", false, b"SELECT\r\n1"), field("t", true, b"\xff\0")];
        assert_eq!(fields(body, &marker).unwrap(), expected);
        assert_eq!(fields(b"--xyz\r\nbroken", "xyz").unwrap_err().code, 408);
        assert_eq!(boundary("text/plain"), None);
    }
}
