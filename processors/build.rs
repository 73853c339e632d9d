//! Lists the SQL files of `migrations/` for `clickhouse/migrations.rs`, so that a new file is all
//! that a new migration needs.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "cargo names the folders in the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=migrations");
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?;
    let folder = Path::new(&package).join("migrations");
    let entries = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut names = Vec::new();
    for path in entries.iter().map(std::fs::DirEntry::path) {
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_stem().and_then(|name| name.to_str());
            names.push(name.ok_or("the name of a migration is not UTF-8")?.to_owned());
        }
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        let file = folder.join(format!("{name}.sql"));
        writeln!(list, "Migration {{ name: {name:?}, sql: include_str!({file:?}) }},")?;
    }
    list.push(']');
    let target = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(target.join("migrations.rs"), list)?;
    Ok(())
}
