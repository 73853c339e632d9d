//! What the stack downloads: pinned versions, pinned checksums, through the package
//! clients with the user's own settings. No host is named here; npm and Maven know theirs.
#![expect(clippy::disallowed_methods, reason = "a download's time is reported")]

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::error::{StackError, Trying as _};
use crate::process::{Interrupt, run_to_end, tail};

const KAFKA: &str = "kafka-4.1.0";
const KAFKA_POM: &str = include_str!("../kafka/pom.xml");
/// `sha256sum`'s lines for every jar that the pom resolves to.
const KAFKA_JARS: &str = include_str!("../kafka/jars.sha256");

const REGISTRY: &str = "apicurio-registry-3.0.9";
const REGISTRY_ARTIFACT: &str = "io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all";
const REGISTRY_FILE: &str = "apicurio-registry-app-3.0.9-all.tar.gz";
const REGISTRY_JAR: &str = "apicurio-registry-app-3.0.9-runner.jar";
const REGISTRY_JAR_SHA256: &str =
    "5f030c7fa9e1e28a8a35fe5f00391fcaac2be02f6b4eedb3cc79474a3aa34097";
const REGISTRY_SHA256: &str = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43";

const ENGINE: &str = "chdb-26.7.3-linux-x64";
const ENGINE_PACKAGE: &str = "@chdb/lib-linux-x64-gnu@26.7.3-stable.1";
const ENGINE_FILE: &str = "chdb-lib-linux-x64-gnu-26.7.3-stable.1.tgz";
const ENGINE_LIBRARY_SHA256: &str =
    "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5";
const ENGINE_SHA256: &str = "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad";

/// The downloaded programs.
#[derive(Debug, Clone)]
pub struct Kit {
    /// Folder with Kafka's jars.
    pub kafka_libs: PathBuf,
    /// The registry's runnable jar.
    pub registry_jar: PathBuf,
    /// ClickHouse's engine.
    pub engine: PathBuf,
}

/// Says what is going on, a line at a time.
pub(crate) type Report<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl Kit {
    /// Where the programs are in a cache, fetched or not.
    pub(crate) fn in_cache(cache: &Cache) -> Self {
        Self {
            kafka_libs: cache.entry(KAFKA),
            registry_jar: cache.entry(REGISTRY).join(REGISTRY_JAR),
            engine: cache.entry(ENGINE).join("libchdb.so"),
        }
    }

    /// Takes everything out of a cache that was ever fetched for this version.
    pub(crate) fn forget(cache: &Cache, interrupt: &Interrupt) -> Result<(), StackError> {
        cache.forget(&[KAFKA, REGISTRY, ENGINE], interrupt)
    }

    /// Whether everything has been fetched.
    pub(crate) fn is_complete(&self) -> bool {
        self.kafka_libs.is_dir() && self.registry_jar.is_file() && self.engine.is_file()
    }

    /// Whether what is in a cache is what was pinned, by name.
    pub(crate) fn check(cache: &Cache) -> Vec<(&'static str, Result<(), StackError>)> {
        let kit = Self::in_cache(cache);
        vec![
            (KAFKA, check_jars(&kit.kafka_libs)),
            (REGISTRY, check(&kit.registry_jar, REGISTRY_JAR_SHA256)),
            (ENGINE, check(&kit.engine, ENGINE_LIBRARY_SHA256)),
        ]
    }

    /// Fetches what is missing.
    ///
    /// # Errors
    /// A missing program, a failed download, a wrong checksum, an interrupt.
    pub(crate) fn fetch(
        cache: &Cache,
        report: Report<'_>,
        interrupt: &Interrupt,
    ) -> Result<Self, StackError> {
        let kit = Self::in_cache(cache);
        if kit.is_complete() {
            return Ok(kit);
        }
        let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        if platform != "linux-x86_64" {
            return Err(StackError::Platform(platform));
        }
        for program in prerequisites() {
            program?;
        }
        std::thread::scope(|scope| {
            // npm and Maven talk to different servers; Maven's own two would fight for one.
            let engine = scope.spawn(|| fetch_engine(cache, report, interrupt));
            let kafka = fetch_kafka(cache, report, interrupt);
            let registry = kafka.and_then(|()| fetch_registry(cache, report, interrupt));
            let engine = engine.join().unwrap_or(Err(StackError::Interrupted));
            // The first failure is the cause, the other only its echo.
            registry.and(engine)
        })?;
        Ok(kit)
    }
}

/// The programs that a stack needs, each with its version or how to get it.
pub(crate) fn prerequisites() -> Vec<Result<String, StackError>> {
    vec![
        need_java(),
        need("mvn", &["--version"], "Maven (mvn)", "maven"),
        need("npm", &["--version"], "npm", "npm"),
        need("tar", &["--version"], "tar", "tar"),
    ]
}

/// # Errors
/// [`StackError::Prerequisite`] if the program does not run.
pub(crate) fn need(
    program: &str,
    arguments: &[&str],
    what: &'static str,
    package: &'static str,
) -> Result<String, StackError> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = said.lines().next().unwrap_or_default();
            // Maven paints even when nobody looks.
            let line = line.replace("\u{1b}[1m", "").replace("\u{1b}[m", "");
            Ok(format!("{program}: {line}"))
        }
        _ => Err(StackError::Prerequisite { what, package }),
    }
}

/// # Errors
/// [`StackError::Prerequisite`] if there is no Java, or one older than 17.
pub(crate) fn need_java() -> Result<String, StackError> {
    let output = Command::new("java").arg("-version").output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        .unwrap_or_default();
    match java_major(&text) {
        Some(major) if major >= 17 => Ok(format!("java: version {major}")),
        _ => Err(StackError::Prerequisite {
            what: "Java 17 or later",
            package: "openjdk-17-jdk-headless",
        }),
    }
}

fn java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

fn fetch_engine(
    cache: &Cache,
    report: Report<'_>,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let fill = |folder: &Path| {
        let started = Instant::now();
        report("clickhouse: fetching the engine, 178 MB (npm)");
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", ENGINE_PACKAGE, "--pack-destination"]).arg(folder);
        run(npm, folder, "the ClickHouse engine", interrupt)?;
        let package = folder.join(ENGINE_FILE);
        check(&package, ENGINE_SHA256)?;
        unpack(&package, folder, &["package/libchdb.so"], interrupt)?;
        report(&done("clickhouse", &package, started));
        std::fs::remove_file(&package).trying(|| format!("removing {}", package.display()))
    };
    cache.ensure(ENGINE, interrupt, fill).map(drop)
}

fn fetch_kafka(cache: &Cache, report: Report<'_>, interrupt: &Interrupt) -> Result<(), StackError> {
    let fill = |folder: &Path| {
        let started = Instant::now();
        report("kafka: fetching 93 jars, 56 MB (Maven)");
        let mut maven = maven(folder)?;
        maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
        maven.arg(output_folder(folder));
        run(maven, folder, "Kafka", interrupt)?;
        std::fs::remove_file(folder.join("pom.xml")).trying(|| "removing pom.xml".to_owned())?;
        check_jars(folder)?;
        report(&done("kafka", folder, started));
        Ok(())
    };
    cache.ensure(KAFKA, interrupt, fill).map(drop)
}

fn fetch_registry(
    cache: &Cache,
    report: Report<'_>,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let fill = |folder: &Path| {
        let started = Instant::now();
        report("registry: fetching Apicurio Registry, 109 MB (Maven)");
        let mut maven = maven(folder)?;
        maven.args(["dependency:copy", &format!("-Dartifact={REGISTRY_ARTIFACT}")]);
        maven.arg(output_folder(folder));
        run(maven, folder, "the registry", interrupt)?;
        let package = folder.join(REGISTRY_FILE);
        check(&package, REGISTRY_SHA256)?;
        unpack(&package, folder, &[], interrupt)?;
        report(&done("registry", &package, started));
        std::fs::remove_file(folder.join("pom.xml")).trying(|| "removing pom.xml".to_owned())?;
        std::fs::remove_file(&package).trying(|| format!("removing {}", package.display()))
    };
    cache.ensure(REGISTRY, interrupt, fill).map(drop)
}

fn output_folder(folder: &Path) -> String {
    format!("-DoutputDirectory={}", folder.display())
}

fn maven(folder: &Path) -> Result<Command, StackError> {
    let pom = folder.join("pom.xml");
    std::fs::write(&pom, KAFKA_POM).trying(|| format!("writing {}", pom.display()))?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(pom);
    Ok(maven)
}

pub(crate) fn run(
    mut command: Command,
    folder: &Path,
    what: &'static str,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let log = folder.join("fetch.log");
    let status = run_to_end(&mut command, &log, interrupt)?;
    if !status.success() {
        let arguments: Vec<_> =
            command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let command = format!("{} {}", command.get_program().display(), arguments.join(" "));
        return Err(StackError::Fetch { what, command, output: tail(&log, 15) });
    }
    std::fs::remove_file(&log).trying(|| format!("removing {}", log.display()))
}

pub(crate) fn unpack(
    package: &Path,
    folder: &Path,
    members: &[&str],
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(package).arg("-C").arg(folder);
    if !members.is_empty() {
        tar.arg("--strip-components=1").args(members);
    }
    run(tar, folder, "a package (unpacking it)", interrupt)
}

fn sha256(file: &Path) -> Result<String, StackError> {
    let what = || format!("reading {}", file.display());
    let mut source = File::open(file).trying(what)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let len = source.read(&mut piece).trying(what)?;
        if len == 0 {
            break;
        }
        hasher.update(&piece[..len]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn check(file: &Path, pinned: &str) -> Result<(), StackError> {
    let found = sha256(file)?;
    if found == pinned {
        return Ok(());
    }
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(StackError::Checksum { file, found, pinned: pinned.to_owned() })
}

/// Every pinned jar is there and unchanged, and no other is.
fn check_jars(folder: &Path) -> Result<(), StackError> {
    let pinned: Vec<(&str, &str)> =
        KAFKA_JARS.lines().filter_map(|line| line.split_once("  ")).collect();
    for (sum, name) in &pinned {
        check(&folder.join(name), sum)?;
    }
    let what = || format!("listing {}", folder.display());
    for entry in std::fs::read_dir(folder).trying(what)? {
        let name = entry.trying(what)?.file_name().to_string_lossy().into_owned();
        if !pinned.iter().any(|(_, pinned)| *pinned == name) {
            let found = sha256(&folder.join(&name))?;
            return Err(StackError::Checksum {
                file: name,
                found,
                pinned: "none: the file is not expected".to_owned(),
            });
        }
    }
    Ok(())
}

/// Bytes of a file, or of all files in a folder.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return path.metadata().map(|data| data.len()).unwrap_or(0);
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

fn done(name: &str, path: &Path, started: Instant) -> String {
    format!(
        "{name}: {} MB in {:.1} s, checksums right",
        size(path) / 1_000_000,
        started.elapsed().as_secs_f32()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_version_is_read_in_both_spellings() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(java_major("openjdk version \"21-ea\" 2023"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_292\""), Some(1));
        assert_eq!(java_major(""), None);
    }

    #[test]
    fn a_changed_file_is_not_accepted() {
        let file = std::env::temp_dir().join(format!("clicktrail-sha-{}", std::process::id()));
        std::fs::write(&file, "abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&file, sum).unwrap();
        std::fs::write(&file, "abd").unwrap();
        assert!(matches!(check(&file, sum), Err(StackError::Checksum { .. })));
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn every_jar_of_the_manifest_has_a_checksum() {
        for line in KAFKA_JARS.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            assert!(sum.len() == 64 && name.ends_with(".jar"), "{line}");
        }
    }
}
