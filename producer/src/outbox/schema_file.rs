//! The schemas of the clicks in an outbox: one file per schema, named by its fingerprint.
//!
//! A later version of this program may write another schema, and needs the schema of the clicks that it
//! finds to ask the registry for its id.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use schemas::RELEASED;
use sha2::{Digest as _, Sha256};

use crate::outbox::segment::Fingerprint;
use crate::private_file;

const SUFFIX: &str = ".avsc";

/// Writes the schema to its file, unless the file exists, and returns its fingerprint. A crash leaves the
/// complete file or none.
pub(super) fn write(folder: &Path, schema: &str) -> io::Result<Fingerprint> {
    let fingerprint = fingerprint_of(schema);
    let path = path(folder, fingerprint);
    if std::fs::read(&path).is_ok_and(|kept| kept == schema.as_bytes()) {
        return Ok(fingerprint);
    }
    private_file::replace(&path, |mut file| file.write_all(schema.as_bytes()))?;
    Ok(fingerprint)
}

fn path(folder: &Path, fingerprint: Fingerprint) -> PathBuf {
    let name = fingerprint.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
    folder.join(format!("{name}{SUFFIX}"))
}

/// The schema with this fingerprint: from its file, or, if the file is missing or damaged, from the
/// released schemas.
pub(super) fn read(folder: &Path, fingerprint: Fingerprint) -> io::Result<String> {
    let path = path(folder, fingerprint);
    let own = |schema: &str| fingerprint_of(schema) == fingerprint;
    let error = match std::fs::read_to_string(&path) {
        Ok(schema) if own(&schema) => return Ok(schema),
        Ok(_) => io::Error::other(format!("{} is damaged", path.display())),
        Err(error) => error,
    };
    let released = RELEASED.iter().map(|(_, schema)| *schema).find(|schema| own(schema));
    released.map(str::to_owned).ok_or(error)
}

#[cfg(test)]
thread_local! {
    /// How often this thread has listed a folder.
    pub(super) static LISTINGS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// The fingerprints of all schemas in a folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Fingerprint>> {
    #[cfg(test)]
    LISTINGS.set(LISTINGS.get() + 1);
    let mut fingerprints = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        fingerprints.extend(number.map(u128::to_be_bytes));
    }
    Ok(fingerprints)
}

fn fingerprint_of(schema: &str) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(&Sha256::digest(schema)[..16]);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_a_damaged_schema_is_not_used_and_a_released_one_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (other, released) = (r#""bytes""#, RELEASED[0].1);
        let fingerprints = [other, released].map(|it| write(folder.path(), it).unwrap());
        let mut listed = list(folder.path()).unwrap();
        listed.sort_unstable();
        let mut expected = fingerprints.to_vec();
        expected.sort_unstable();
        assert_eq!(listed, expected);
        for fingerprint in fingerprints {
            std::fs::write(path(folder.path(), fingerprint), r#""string""#).unwrap();
        }
        let error = read(folder.path(), fingerprints[0]).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert_eq!(read(folder.path(), fingerprints[1]).unwrap(), released);
        std::fs::remove_file(path(folder.path(), fingerprints[1])).unwrap();
        assert_eq!(read(folder.path(), fingerprints[1]).unwrap(), released);
    }
}
