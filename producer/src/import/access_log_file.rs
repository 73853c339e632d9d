//! An access log line by line, as bytes, in bounded memory; gzip is decompressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;

/// Longest line that is read; servers cap requests far below.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The name of standard input.
pub const STDIN: &str = "-";
/// How each member of a gzip file begins.
const GZIP: &[u8] = b"\x1f\x8b";

/// An open access log.
pub struct AccessLogFile {
    reader: Box<dyn BufRead + Send>,
    position: Arc<AtomicU64>,
    line: Vec<u8>,
}

impl std::fmt::Debug for AccessLogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLogFile").field("position", &self.position).finish_non_exhaustive()
    }
}

/// The result of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub enum LineRead<'a> {
    /// A line without its end (`\n` or `\r\n`).
    Line(&'a [u8]),
    /// A line of more than [`LINE_BYTES_MAX`], which was skipped.
    TooLong,
    /// Nothing follows.
    End,
}

impl AccessLogFile {
    /// Opens a file, or standard input by its name.
    ///
    /// # Errors
    /// One that names the file: it is not there, may not be read, is a directory.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        if file.as_os_str() == STDIN {
            return Self::over(Box::new(io::stdin())).context("standard input");
        }
        let name = || file.display().to_string();
        let open = File::open(file).with_context(name)?;
        if open.metadata().with_context(name)?.is_dir() {
            anyhow::bail!("{} is a directory; name the files in it", name());
        }
        Self::over(Box::new(open)).with_context(name)
    }

    fn over(source: Box<dyn io::Read + Send>) -> io::Result<Self> {
        let position = Arc::new(AtomicU64::new(0));
        let counted = Counted { source, position: Arc::clone(&position) };
        let mut plain = BufReader::with_capacity(LINE_BYTES_MAX, counted);
        let reader: Box<dyn BufRead + Send> = if plain.fill_buf()?.starts_with(GZIP) {
            Box::new(BufReader::new(MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        Ok(Self { reader, position, line: Vec::new() })
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// The disk's, or the decompression's.
    pub fn read_line(&mut self) -> io::Result<LineRead<'_>> {
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if (&mut self.reader).take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(LineRead::End);
        }
        if self.line.len() > LINE_BYTES_MAX && !self.line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
            return Ok(LineRead::TooLong);
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(LineRead::Line(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Bytes of the file that were read from the disk, as they are stored there.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }
}

struct Counted {
    source: Box<dyn io::Read + Send>,
    position: Arc<AtomicU64>,
}

impl io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.position.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn lines(name: &str, bytes: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let mut log = AccessLogFile::open(&file).unwrap();
        let mut lines = Vec::new();
        loop {
            match log.read_line().unwrap() {
                LineRead::Line(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
                LineRead::TooLong => lines.push("too long".to_owned()),
                LineRead::End => return lines,
            }
        }
    }

    #[test]
    fn lines_come_without_their_ends_and_the_last_needs_none() {
        assert_eq!(lines("a", b"a\nb\r\n\n\xff"), ["a", "b", "", "\u{fffd}"]);
        assert!(lines("a", b"").is_empty());
    }

    #[test]
    fn a_line_too_long_is_one_line() {
        let full = "x".repeat(LINE_BYTES_MAX);
        let text = format!("{full}\n{full}y\nz\n{full}{full}{full}");
        assert_eq!(lines("a", text.as_bytes()), [full.as_str(), "too long", "z", "too long"]);
    }

    #[test]
    fn gzip_files_of_several_members_are_decompressed() {
        let mut bytes = Vec::new();
        for part in ["a\nb", "c\n"] {
            let mut encoder = flate2::write::GzEncoder::new(&mut bytes, Default::default());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        // By their content: a name may have any suffix.
        for name in ["a.gz", "a.log"] {
            assert_eq!(lines(name, &bytes), ["a", "bc"]);
        }
        assert_eq!(lines("plain.gz", b"a\nb"), ["a", "b"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = AccessLogFile::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
        let missing = folder.path().join("none.log");
        let error = format!("{:#}", AccessLogFile::open(&missing).unwrap_err());
        assert!(error.contains("none.log: No such file"), "{error}");
    }
}
