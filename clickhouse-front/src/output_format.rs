//! How the chunks of an output format are joined. Pure. The engine streams a result as one small
//! document a chunk. For a format with a header, the front removes the header from every chunk but
//! the first; a format whose documents cannot be joined is not streamed.

/// How chunks of a format are joined to one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Chunks follow each other as they are.
    Plain,
    /// Each chunk starts with this many lines of header.
    HeaderLines(usize),
    /// Each chunk starts with a count, names and, if true, types, as `RowBinary` writes them.
    BinaryHeader(bool),
    /// The document has a beginning and an end: the engine must write it at once.
    Document,
}

/// Looks up a format by name; names are compared without regard to case, as ClickHouse does.
pub(crate) fn framing(format: &str) -> Framing {
    let name = format.to_ascii_lowercase();
    let name = name.replace("tabseparated", "tsv").replace("csvwith", "tsvwith");
    match name.as_str() {
        "tsv"
        | "tsvraw"
        | "csv"
        | "tskv"
        | "rowbinary"
        | "native"
        | "jsoneachrow"
        | "ndjson"
        | "jsonlines"
        | "jsoncompacteachrow"
        | "jsonstringseachrow"
        | "jsoncompactstringseachrow"
        | "null"
        | "lineasstring"
        | "rawblob"
        | "raw"
        | "msgpack" => Framing::Plain,
        "tsvwithnames"
        | "tsvrawwithnames"
        | "jsoncompacteachrowwithnames"
        | "jsoncompactstringseachrowwithnames" => Framing::HeaderLines(1),
        "tsvwithnamesandtypes"
        | "tsvrawwithnamesandtypes"
        | "jsoncompacteachrowwithnamesandtypes"
        | "jsoncompactstringseachrowwithnamesandtypes" => Framing::HeaderLines(2),
        "rowbinarywithnames" => Framing::BinaryHeader(false),
        "rowbinarywithnamesandtypes" => Framing::BinaryHeader(true),
        _ => Framing::Document,
    }
}

impl Framing {
    /// Length of the header at the start of `chunk`; 0 if there is none or it is incomplete.
    pub(crate) fn header_len(self, chunk: &[u8]) -> usize {
        match self {
            Self::Plain | Self::Document => 0,
            Self::HeaderLines(lines) => lines_len(chunk, lines).unwrap_or(0),
            Self::BinaryHeader(types) => binary_len(chunk, types).unwrap_or(0),
        }
    }
}

/// A line break inside CSV's double quotes does not end a line.
fn lines_len(chunk: &[u8], lines: usize) -> Option<usize> {
    let mut quoted = false;
    let mut left = lines;
    for (at, &byte) in chunk.iter().enumerate() {
        quoted ^= byte == b'"';
        if byte == b'\n' && !quoted {
            left -= 1;
            if left == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}

fn varint(chunk: &[u8], at: &mut usize) -> Option<usize> {
    let (mut value, mut shift) = (0usize, 0);
    loop {
        let byte = *chunk.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

fn binary_len(chunk: &[u8], types: bool) -> Option<usize> {
    let mut at = 0;
    let columns = varint(chunk, &mut at)?;
    let strings = if types { columns.checked_mul(2)? } else { columns };
    for _ in 0..strings {
        let len = varint(chunk, &mut at)?;
        at = at.checked_add(len)?;
    }
    (at <= chunk.len()).then_some(at)
}

/// The content type ClickHouse gives a format.
pub(crate) fn content_type(format: &str) -> &'static str {
    let name = format.to_ascii_lowercase();
    if name.contains("eachrow") || name == "ndjson" || name == "jsonlines" {
        "application/x-ndjson; charset=UTF-8"
    } else if name.starts_with("json") {
        "application/json; charset=UTF-8"
    } else if name.starts_with("csv") {
        "text/csv; charset=UTF-8; header=absent"
    } else if name.starts_with("tabseparated") || name.starts_with("ts") {
        "text/tab-separated-values; charset=UTF-8"
    } else if name.starts_with("pretty")
        || name == "vertical"
        || name == "values"
        || name == "markdown"
    {
        "text/plain; charset=UTF-8"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_header_is_exact() {
        assert_eq!(framing("TabSeparatedWithNames").header_len(b"a\tb\n1\t2\n"), 4);
        assert_eq!(framing("CSVWithNamesAndTypes").header_len(b"\"a\nb\"\n\"T\"\n1\n"), 10);
        let header = b"\x02\x06number\x01s\x06UInt64\x06String\x00\x00";
        assert_eq!(framing("RowBinaryWithNamesAndTypes").header_len(header), 24);
        assert_eq!(framing("RowBinaryWithNames").header_len(header), 10);
        assert_eq!(framing("rowbinarywithnames").header_len(b"\xff"), 0);
    }

    #[test]
    fn documents_are_not_streamed() {
        for document in ["JSON", "Pretty", "Parquet", "ArrowStream", "XML", "Values", "Template"] {
            assert_eq!(framing(document), Framing::Document, "{document}");
        }
        for plain in ["TSV", "TabSeparated", "CSV", "Native", "JSONEachRow"] {
            assert_eq!(framing(plain), Framing::Plain, "{plain}");
        }
    }
}
