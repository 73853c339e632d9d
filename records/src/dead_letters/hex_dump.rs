//! Bytes as lines of sixteen hexadecimal numbers and their ASCII characters. Pure.

const LINE_BYTES: usize = 16;

/// The lines of `bytes`, of which the first has this offset; `bytes_max` of them at most, and then a line
/// that gives the number of the others.
pub fn hex_dump(bytes: &[u8], offset: usize, bytes_max: usize) -> Vec<String> {
    let part = &bytes[..bytes.len().min(bytes_max)];
    let mut lines: Vec<String> = part
        .chunks(LINE_BYTES)
        .enumerate()
        .map(|(index, chunk)| line(chunk, offset + index * LINE_BYTES))
        .collect();
    let others = bytes.len() - part.len();
    if others > 0 {
        lines.push(format!("… and {others} bytes"));
    }
    lines
}

fn line(chunk: &[u8], offset: usize) -> String {
    let mut line = format!("{offset:08x} ");
    for index in 0..LINE_BYTES {
        let gap = if index == LINE_BYTES / 2 { "  " } else { " " };
        line.push_str(gap);
        match chunk.get(index) {
            Some(byte) => line.push_str(&format!("{byte:02x}")),
            None => line.push_str("  "),
        }
    }
    line.push_str("  |");
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    line.extend(chunk.iter().map(printable));
    line.push('|');
    line
}

/// Bytes as hexadecimal digits.
pub fn hex_digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_sixteen_bytes_a_line_and_a_bound() {
        let lines = hex_dump(b"\x00\x1b[2Jabcdefghijklmn\xff", 31, 4096);
        assert_eq!(
            lines,
            [
                "0000001f  00 1b 5b 32 4a 61 62 63  64 65 66 67 68 69 6a 6b  |..[2Jabcdefghijk|",
                "0000002f  6c 6d 6e ff                                       |lmn.|",
            ]
        );
        assert_eq!(hex_dump(&[7; 5000], 0, 4096).len(), 257);
        assert_eq!(hex_dump(&[7; 5000], 0, 4096)[256], "… and 904 bytes");
        assert_eq!(hex_dump(&[], 0, 4096), [""; 0]);
        assert_eq!(hex_digits(&[0, 171]), "00ab");
    }
}
