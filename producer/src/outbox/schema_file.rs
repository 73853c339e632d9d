//! The schemas of an outbox's clicks: one file for each, named by its fingerprint.
//!
//! A later program may write by another schema, and must name to the registry the schema of the
//! clicks that it finds.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::outbox::segment::Fingerprint;
use crate::private_file;

/// Writes the schema to its file, unless it is there; returns its fingerprint. A crash leaves the
/// complete file or none.
pub(super) fn write(folder: &Path, schema: &str) -> io::Result<Fingerprint> {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(&Sha256::digest(schema)[..16]);
    let path = path(folder, fingerprint);
    if std::fs::read(&path).is_ok_and(|kept| kept == schema.as_bytes()) {
        return Ok(fingerprint);
    }
    private_file::replace(&path, |mut file| file.write_all(schema.as_bytes()))?;
    Ok(fingerprint)
}

fn path(folder: &Path, fingerprint: Fingerprint) -> PathBuf {
    let name = fingerprint.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
    folder.join(format!("{name}.avsc"))
}

/// The schema with this fingerprint.
pub(super) fn read(folder: &Path, fingerprint: Fingerprint) -> io::Result<String> {
    std::fs::read_to_string(path(folder, fingerprint))
}
