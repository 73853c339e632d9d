//! Reads an access log line by line, as bytes, in bounded memory. It decompresses gzip, and removes
//! byte-order marks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

use crate::import::file_kind::FileKind;
use crate::import::gzip_members::GzipMembers;

/// Longest line that is read; servers limit requests to much less.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The name of standard input.
pub const STDIN: &str = "-";
/// The byte-order mark of UTF-8, which some programs write before a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

type Stored = BufReader<Counted>;

/// The text of a file.
enum Text {
    Plain(Stored),
    Gzip(Box<BufReader<GzipMembers<Stored>>>),
}

/// An open access log.
pub struct AccessLogFile {
    text: Text,
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
    /// The end of the file.
    End,
}

impl AccessLogFile {
    /// Opens a file, or standard input by its name.
    ///
    /// # Errors
    /// The file does not exist, may not be read, is a directory, or an archive; the error names the file.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        if file.as_os_str() == STDIN {
            return Self::over(Box::new(io::stdin())).context("standard input");
        }
        let name = || file.display().to_string();
        let open = File::open(file).with_context(name)?;
        if open.metadata().with_context(name)?.is_dir() {
            anyhow::bail!("{} is a directory: name the files in it", name());
        }
        Self::over(Box::new(open)).with_context(name)
    }

    /// Checks that a file can be opened. Does not open pipes and standard input, since that would consume
    /// their content.
    ///
    /// # Errors
    /// As [`AccessLogFile::open`].
    pub fn check(file: &Path) -> anyhow::Result<()> {
        let is_pipe = || file.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir());
        if file.as_os_str() == STDIN || is_pipe() {
            return Ok(());
        }
        Self::open(file).map(drop)
    }

    fn over(source: Box<dyn io::Read + Send>) -> anyhow::Result<Self> {
        let position = Arc::new(AtomicU64::new(0));
        let counted = Counted { source, position: Arc::clone(&position) };
        let mut stored = BufReader::with_capacity(LINE_BYTES_MAX, counted);
        let text = match FileKind::of(stored.fill_buf()?) {
            FileKind::Lines => Text::Plain(stored),
            FileKind::Gzip => {
                let mut text = BufReader::new(GzipMembers::new(stored));
                let kind = FileKind::check_decompressed(text.fill_buf()?);
                kind.context("the decompressed file")?;
                Text::Gzip(Box::new(text))
            }
            FileKind::Other(kind) => anyhow::bail!(kind),
        };
        Ok(Self { text, position, line: Vec::new() })
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// An I/O error, or an error of the decompression; after the last line, also that unread bytes follow.
    pub fn read_line(&mut self) -> io::Result<LineRead<'_>> {
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let reader = self.text.reader();
        if reader.take(limit).read_until(b'\n', &mut self.line)? == 0 {
            self.text.check_end()?;
            return Ok(LineRead::End);
        }
        if self.line.len() > LINE_BYTES_MAX && !self.line.ends_with(b"\n") {
            self.text.reader().skip_until(b'\n')?;
            return Ok(LineRead::TooLong);
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        // Concatenated files have one mark each.
        while let Some(unmarked) = line.strip_prefix(MARK) {
            line = unmarked;
        }
        Ok(LineRead::Line(line))
    }

    /// Bytes of the file that have been read, before decompression.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }
}

impl Text {
    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Plain(reader) => reader,
            Self::Gzip(reader) => reader,
        }
    }

    /// Checks that the file ends after its last line.
    fn check_end(&self) -> io::Result<()> {
        let (Self::Gzip(reader), kind) = (self, io::ErrorKind::InvalidData) else { return Ok(()) };
        if reader.get_ref().has_foreign_bytes() {
            let why = "bytes that are neither gzip nor zeros follow, and were not read";
            return Err(io::Error::new(kind, why));
        }
        Ok(())
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
    fn lines_are_read_without_their_ends_and_the_last_needs_no_end() {
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

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn i6_a_byte_order_mark_is_no_part_of_a_line() {
        for (bytes, expected) in [
            (&b"\xef\xbb\xbfa\nb"[..], &["a", "b"][..]),
            (b"\xef\xbb\xbf\xef\xbb\xbfa\r\n\xef\xbb\xbfb\n", &["a", "b"]),
            (b"a\xef\xbb\xbf\n", &["a\u{feff}"]),
        ] {
            assert_eq!(lines("a", bytes), expected);
            assert_eq!(lines("a", &gzip(bytes)), expected);
        }
    }

    #[test]
    fn i7_lines_before_foreign_bytes_are_read_before_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gz");
        std::fs::write(&file, [&gzip(b"a\nb")[..], &[0; 9], b"x"].concat()).unwrap();
        let mut log = AccessLogFile::open(&file).unwrap();
        for line in [b"a", b"b"] {
            assert_eq!(log.read_line().unwrap(), LineRead::Line(line));
        }
        assert!(log.read_line().unwrap_err().to_string().contains("neither gzip nor zeros"));
        std::fs::write(&file, [&gzip(b"a\nb")[..], &[0; 512]].concat()).unwrap();
        let mut log = AccessLogFile::open(&file).unwrap();
        for line in [LineRead::Line(b"a"), LineRead::Line(b"b"), LineRead::End] {
            assert_eq!(log.read_line().unwrap(), line);
        }
    }

    #[test]
    fn i16_an_archive_is_refused_also_inside_gzip_and_a_pipe_is_not_opened_to_check_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let refused = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            assert!(AccessLogFile::check(&file).is_err());
            format!("{:#}", AccessLogFile::open(&file).unwrap_err())
        };
        let plain = refused(b"PK\x03\x04x");
        assert!(
            plain.contains("/a: a zip archive") && plain.contains("`unzip -p FILE |"),
            "{plain}"
        );
        let inside = refused(&gzip(b"PK\x03\x04x"));
        assert!(inside.contains("the decompressed file: a zip archive"), "{inside}");
        assert!(refused(&gzip(&gzip(b"a"))).contains("compressed twice"));
        // To open a socket would fail.
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(AccessLogFile::check(&socket).is_ok() && AccessLogFile::open(&socket).is_err());
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
