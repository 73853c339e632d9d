//! The snapshot: a file with all links, from which this host can start while broker and database are down.
//!
//! A new snapshot is written to a temporary file and renamed. A partial file is not used: the checksum at
//! its end covers all bytes before it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::Path;

use schemas::LINK_VERSION_MAX;

use crate::links::link::Link;
use crate::links::link_table::LinkTable;
use crate::private_file;

const MAGIC: [u8; 8] = *b"ctlinks1";

/// Writes the links of the table; returns how many, with tombstones. Blocks.
///
/// # Errors
/// An I/O error; the old file stays.
pub fn write(links: &LinkTable, path: &Path) -> io::Result<u64> {
    private_file::replace(path, |file| write_links(links, file))
}

fn write_links(links: &LinkTable, file: &File) -> io::Result<u64> {
    let mut file = Summed { inner: BufWriter::new(file), sum: Default::default() };
    let mut count = 0_u64;
    file.write_all(&MAGIC)?;
    links.for_each(|link| {
        count += 1;
        let bytes = link.as_bytes();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(bytes)
    })?;
    // No link has a length of 0, so this marks the end.
    file.write_all(&0_u32.to_le_bytes())?;
    let Summed { mut inner, sum } = file;
    inner.write_all(&sum.finalize().to_le_bytes())?;
    inner.flush()?;
    Ok(count)
}

/// Reads a file into an empty table; returns how many links. Reads no link of a partial file. Blocks.
///
/// # Errors
/// The file does not exist, is not readable, or is not complete.
pub fn read(links: &LinkTable, path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    private_file::tighten(path);
    // It reads the file twice, so that memory never holds the links twice.
    each(&file, drop)?;
    file.rewind()?;
    each(&file, |link| _ = links.apply(link))
}

/// Passes each link of a file to `take`; an error at the end if the file is not complete.
fn each(file: &File, mut take: impl FnMut(Link)) -> io::Result<u64> {
    let mut file = Summed { inner: BufReader::new(file), sum: Default::default() };
    if file.take_exact::<8>()? != MAGIC {
        return Err(broken("is not a snapshot of links"));
    }
    let (mut count, mut bytes) = (0, Vec::new());
    loop {
        let length = u32::from_le_bytes(file.take_exact()?);
        match length {
            0 => break,
            1..=65_536 => bytes.resize(length as usize, 0),
            _ => return Err(broken("holds a link that is too long")),
        }
        file.read_exact(&mut bytes)?;
        let link =
            Link::from_bytes(&bytes).ok_or_else(|| broken("holds bytes that are not a link"))?;
        // An earlier version of this program accepted any version, which no change could follow.
        if (1..=LINK_VERSION_MAX).contains(&link.version()) {
            take(link);
            count += 1;
        }
    }
    let sum = std::mem::take(&mut file.sum).finalize();
    if u32::from_le_bytes(file.take_exact()?) != sum {
        return Err(broken("has a wrong checksum"));
    }
    Ok(count)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the file {what}"))
}

/// Computes the checksum of the bytes that it passes on.
struct Summed<T> {
    inner: T,
    sum: crc32fast::Hasher,
}

impl<T: Write> Summed<T> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Summed<T> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.sum.update(bytes);
        Ok(())
    }

    fn take_exact<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"slug":"a","url":"https://example.com/","version":3}
{"slug":"b","url":"https://example.com/b","domain":"go.example"}"#;

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links");
        assert_eq!(write(&LinkTable::parse(FILE.as_bytes(), "f").unwrap(), &path).unwrap(), 2);
        let links = LinkTable::default();
        assert_eq!(read(&links, &path).unwrap(), 2);
        assert_eq!(links.named(None, "a").unwrap().version(), 3);
        assert!(links.named(Some("go.example"), "b").is_some());
        assert!(!links.is_loaded(), "later links are not in it");
    }

    #[test]
    fn m12_a_link_of_a_snapshot_whose_version_is_none_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links");
        let links = LinkTable::parse(FILE.as_bytes(), "f").unwrap();
        for (slug, version) in [("c", i64::MAX), ("d", LINK_VERSION_MAX + 1), ("e", 0)] {
            let mut bytes = links.named(None, "a").unwrap().as_bytes().to_vec();
            bytes[..8].copy_from_slice(&i64::to_le_bytes(version));
            let at = bytes.iter().position(|byte| *byte == b'/').unwrap() + 1;
            bytes[at] = slug.as_bytes()[0];
            links.put(Link::from_bytes(&bytes).unwrap());
        }
        assert_eq!((write(&links, &path).unwrap(), links.count()), (5, 5));
        let read_back = LinkTable::default();
        assert_eq!(read(&read_back, &path).unwrap(), 2);
        assert!(read_back.named(None, "a").is_some() && read_back.named(None, "c").is_none());
    }

    #[test]
    fn m11_a_snapshot_is_private_and_one_of_an_earlier_version_becomes_so() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        write(&LinkTable::parse(FILE.as_bytes(), "f").unwrap(), &path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&LinkTable::default(), &path).unwrap(), 2);
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn l10_a_link_in_place_of_the_new_snapshot_is_refused_and_its_target_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("links"), folder.path().join("victim"));
        std::fs::write(&victim, "victim").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("links.new")).unwrap();
        let links = LinkTable::parse(FILE.as_bytes(), "f").unwrap();
        let error = write(&links, &path).unwrap_err().to_string();
        assert!(error.contains("links.new is a symbolic link"), "{error}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"victim");
    }

    #[test]
    fn a_file_cut_anywhere_or_with_a_wrong_byte_is_not_used_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links");
        write(&LinkTable::parse(FILE.as_bytes(), "f").unwrap(), &path).unwrap();
        let complete = std::fs::read(&path).unwrap();
        for at in 0..complete.len() {
            let mut changed = complete.clone();
            changed[at] ^= 1;
            for broken in [&complete[..at], &changed] {
                std::fs::write(&path, broken).unwrap();
                let links = LinkTable::default();
                assert!(read(&links, &path).is_err(), "{at}");
                assert_eq!(links.count(), 0, "{at}");
            }
        }
    }
}
