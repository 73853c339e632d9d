//! One file for each command; each is a shell around the pure modules.

pub mod import;
pub mod links;
pub mod visitor_keys;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;

use crate::exit::Failure;
use crate::links::link_file::LinkError;

/// Reads a file of links by `how`.
///
/// # Errors
/// A configuration failure that names the file, and the line where there is one.
pub fn read_links<T>(
    file: &Path,
    how: impl FnOnce(BufReader<File>, &str) -> Result<T, LinkError>,
) -> Result<T, Failure> {
    how(open_links(file)?, &file.display().to_string()).map_err(Failure::configuration)
}

/// Opens a file of links.
///
/// # Errors
/// A configuration failure that names the file.
pub fn open_links(file: &Path) -> Result<BufReader<File>, Failure> {
    let open = File::open(file).with_context(|| format!("links {}", file.display()));
    open.map(BufReader::new).map_err(Failure::configuration)
}
