//! `Native` blocks for a client that names its protocol's revision (`client_protocol_version`, as
//! Go's client does): each block then begins with a header, and each column says
//! that its serialization is the default. The engine takes no revision through its C interface, so
//! they are added here, for which the length of each column's data must be known. Pure.

use crate::exception::Exception;

/// The revision from which the type of a column names its time zone.
pub(crate) const TIME_ZONES: u32 = 54_337;
/// The revision from which a column names its serialization.
const CUSTOM_SERIALIZATION: u32 = 54_454;
/// No overflow (1), no bucket (2), end.
const BLOCK_INFO: [u8; 8] = [1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0];
/// In a dictionary's flags: keys follow.
const HAS_KEYS: u64 = 1 << 9;

/// The same blocks for a client of `revision`. `types` are the types of the columns, as far as they
/// are known: they complete those of the blocks.
///
/// # Errors
/// `NOT_IMPLEMENTED` (48) for a type whose length is not known here, and for damaged blocks.
pub(crate) fn with_revision(
    blocks: &[u8],
    revision: u32,
    types: &[String],
) -> Result<Vec<u8>, Exception> {
    let mut reader = Reader { bytes: blocks, at: 0 };
    let mut out = Vec::with_capacity(blocks.len() + 64);
    while reader.at < blocks.len() {
        out.extend_from_slice(&BLOCK_INFO);
        reader.block(revision, types, &mut out).map_err(|kind| {
            let text = format!(
                "A column of {kind} cannot be sent as Native by client_protocol_version; ask for another format"
            );
            Exception::new(48, &text, "NOT_IMPLEMENTED")
        })?;
    }
    Ok(out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The type whose length is not known, or what is wrong with the block.
type Unknown = String;

impl<'a> Reader<'a> {
    fn block(&mut self, revision: u32, types: &[String], out: &mut Vec<u8>) -> Result<(), Unknown> {
        let mut copied = self.at;
        let (columns, rows) = (self.varint()?, self.varint()?);
        for column in 0..columns {
            self.string()?;
            let before = self.at;
            let kind = self.string()?;
            if let Some((len, complete)) = with_zone(kind, types.get(column)) {
                out.extend_from_slice(&self.bytes[copied..before]);
                out.push(len);
                out.extend_from_slice(complete.as_bytes());
                copied = self.at;
            }
            if revision >= CUSTOM_SERIALIZATION {
                out.extend_from_slice(&self.bytes[copied..self.at]);
                out.push(0);
                copied = self.at;
            }
            if rows > 0 {
                let kind = String::from_utf8_lossy(kind).into_owned();
                self.skip(8 * kind.matches("LowCardinality(").count())?;
                self.data(&kind, rows)?;
            }
        }
        out.extend_from_slice(&self.bytes[copied..self.at]);
        Ok(())
    }

    fn skip(&mut self, len: usize) -> Result<&'a [u8], Unknown> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| "a truncated block".to_owned())?;
        let start = std::mem::replace(&mut self.at, end);
        Ok(&self.bytes[start..end])
    }

    fn varint(&mut self) -> Result<usize, Unknown> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.skip(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a damaged block".to_owned())
    }

    fn string(&mut self) -> Result<&'a [u8], Unknown> {
        let len = self.varint()?;
        self.skip(len)
    }

    #[expect(clippy::expect_used, reason = "an internal invariant")]
    fn word(&mut self) -> Result<u64, Unknown> {
        let bytes = self.skip(8)?.try_into().expect("eight bytes");
        Ok(u64::from_le_bytes(bytes))
    }

    fn count(&mut self) -> Result<usize, Unknown> {
        usize::try_from(self.word()?).map_err(|_| "a damaged block".to_owned())
    }

    fn data(&mut self, kind: &str, rows: usize) -> Result<(), Unknown> {
        let unknown = || kind.to_owned();
        let (name, arguments) = kind.split_once('(').unwrap_or((kind, ""));
        let arguments = split(arguments.strip_suffix(')').unwrap_or(arguments));
        let first = arguments.first().copied().unwrap_or_default();
        if let Some(width) = width(name, first) {
            return self.skip(width.checked_mul(rows).ok_or_else(unknown)?).map(drop);
        }
        match name {
            "String" => (0..rows).try_for_each(|_| self.string().map(drop)),
            "Nullable" => {
                self.skip(rows)?;
                self.data(first, rows)
            }
            "SimpleAggregateFunction" => self.data(arguments.get(1).ok_or_else(unknown)?, rows),
            "Tuple" if !arguments.is_empty() => {
                arguments.iter().try_for_each(|part| self.data(unnamed(part), rows))
            }
            "Array" | "Map" | "Nested" => {
                if rows == 0 {
                    return Ok(());
                }
                self.skip((rows - 1).checked_mul(8).ok_or_else(unknown)?)?;
                let elements = self.count()?;
                arguments.iter().try_for_each(|part| self.data(unnamed(part), elements))
            }
            "LowCardinality" => self.dictionary(first, rows),
            _ => Err(unknown()),
        }
    }

    fn dictionary(&mut self, kind: &str, rows: usize) -> Result<(), Unknown> {
        let inner = kind.strip_prefix("Nullable(").and_then(|rest| rest.strip_suffix(')'));
        let mut left = rows;
        while left > 0 {
            let flags = self.word()?;
            if flags & HAS_KEYS != 0 {
                let keys = self.count()?;
                self.data(inner.unwrap_or(kind), keys)?;
            }
            let indexes = self.count()?;
            let width = 1_usize << (flags & 3);
            self.skip(indexes.checked_mul(width).ok_or_else(|| kind.to_owned())?)?;
            left = left.checked_sub(indexes.max(1)).ok_or_else(|| kind.to_owned())?;
        }
        Ok(())
    }
}

/// The type of a column that the block calls a `DateTime` without its time zone, and its length,
/// which must fit into one byte.
fn with_zone<'t>(kind: &[u8], complete: Option<&'t String>) -> Option<(u8, &'t str)> {
    let complete = complete.filter(|text| kind == b"DateTime" && text.starts_with("DateTime("))?;
    let len = u8::try_from(complete.len()).ok().filter(|len| *len < 0x80)?;
    Some((len, complete.as_str()))
}

/// Bytes of a value whose type says it; `first` is the type's first argument.
fn width(name: &str, first: &str) -> Option<usize> {
    Some(match name {
        "UInt8" | "Int8" | "Bool" | "Enum8" | "Nothing" => 1,
        "UInt16" | "Int16" | "Enum16" | "Date" | "BFloat16" => 2,
        "UInt32" | "Int32" | "Float32" | "Date32" | "DateTime" | "IPv4" | "Time" => 4,
        "UInt64" | "Int64" | "Float64" | "DateTime64" | "Time64" => 8,
        "UInt128" | "Int128" | "UUID" | "IPv6" => 16,
        "UInt256" | "Int256" => 32,
        "FixedString" => return first.parse().ok(),
        "Decimal" => match first.parse::<u8>().ok()? {
            0..=9 => 4,
            10..=18 => 8,
            19..=38 => 16,
            _ => 32,
        },
        name if name.starts_with("Interval") => 8,
        _ => return None,
    })
}

/// Splits a type's arguments at the commas that are not in parentheses or quotes.
fn split(arguments: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut quoted, mut start) = (Vec::new(), 0_usize, None, 0);
    let mut escaped = false;
    for (at, letter) in arguments.char_indices() {
        match (letter, quoted) {
            _ if std::mem::take(&mut escaped) => {}
            ('\\', Some(_)) => escaped = true,
            ('\'' | '`', None) => quoted = Some(letter),
            (_, Some(mark)) if letter == mark => quoted = None,
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(arguments[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = arguments[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

/// The type of a tuple's element, which may have a name before it.
fn unnamed(part: &str) -> &str {
    if let Some(rest) = part.strip_prefix('`') {
        return rest.rsplit_once("` ").map_or(part, |(_, kind)| kind);
    }
    let head = part.find('(').unwrap_or(part.len());
    part[..head].find(' ').map_or(part, |at| &part[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    #[test]
    fn blocks_get_their_header_and_keep_their_data() {
        let number = [string("n"), string("UInt16"), vec![1, 0, 2, 0]].concat();
        let text = [string("s"), string("String"), string("ab"), string("")].concat();
        let block = [vec![2, 2], number.clone(), text.clone()].concat();
        let two = [block.clone(), block.clone()].concat();
        assert_eq!(
            with_revision(&two, 54_400, &[]).unwrap(),
            [&BLOCK_INFO[..], &block, &BLOCK_INFO, &block].concat()
        );
        let flagged = [
            BLOCK_INFO.to_vec(),
            vec![2, 2],
            [&number[..9], &[0], &number[9..]].concat(),
            [&text[..9], &[0], &text[9..]].concat(),
        ];
        assert_eq!(with_revision(&block, 54_513, &[]).unwrap(), flagged.concat());
    }

    #[test]
    fn a_datetime_gets_the_zone_that_its_block_leaves_out() {
        let block = |kind: &str| {
            let first = [string("t"), string(kind), vec![1, 2, 3, 4]].concat();
            let second = [string("u"), string("DateTime"), vec![5, 6, 7, 8]].concat();
            [vec![2, 1], first, second].concat()
        };
        let zoned = "DateTime('Asia/Tokyo')";
        let types = [zoned, "DateTime"].map(str::to_owned);
        let sent = with_revision(&block("DateTime"), TIME_ZONES, &types).unwrap();
        assert_eq!(sent, [&BLOCK_INFO[..], &block(zoned)].concat());
        let unknown = with_revision(&block("DateTime"), TIME_ZONES, &[]).unwrap();
        assert_eq!(unknown, [&BLOCK_INFO[..], &block("DateTime")].concat());
    }

    #[test]
    fn truncated_blocks_and_unknown_types_are_refused() {
        let block = [vec![1, 1], string("n"), string("UInt64"), vec![0; 7]].concat();
        assert_eq!(with_revision(&block, 54_513, &[]).unwrap_err().code, 48);
        let block = [vec![1, 1], string("n"), string("JSON"), vec![0; 70]].concat();
        assert!(with_revision(&block, 54_513, &[]).unwrap_err().text.contains("JSON"));
    }

    #[test]
    fn arguments_are_split_where_they_end() {
        assert_eq!(
            split("a Array(UInt8), 'x,\\')' = 1, C"),
            ["a Array(UInt8)", "'x,\\')' = 1", "C"]
        );
        assert_eq!(unnamed("`a b` Map(K, V)"), "Map(K, V)");
        assert_eq!(unnamed("a DateTime64(3, 'UTC')"), "DateTime64(3, 'UTC')");
        assert_eq!(unnamed("DateTime64(3, 'UTC')"), "DateTime64(3, 'UTC')");
    }
}
