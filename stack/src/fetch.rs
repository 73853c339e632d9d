//! The downloads of the stack: pinned versions, pinned checksums, through the package clients with
//! the user's settings. No host is named here; npm and Maven know theirs.
#![expect(clippy::disallowed_methods, reason = "a download's time is reported")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cache::{Cache, size};
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::package::{check, extract, fetch, sha256};
use crate::prerequisites;

const KAFKA: &str = "kafka-4.4.0";
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
pub struct Downloads {
    /// Folder with Kafka's jars.
    pub kafka_libs: PathBuf,
    /// The registry's runnable jar.
    pub registry_jar: PathBuf,
    /// ClickHouse's engine.
    pub engine: PathBuf,
}

/// Takes reports, a line at a time.
pub(crate) type Reporter<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl Downloads {
    /// Where the programs are in a cache, fetched or not.
    pub(crate) fn in_cache(cache: &Cache) -> Self {
        Self {
            kafka_libs: cache.entry(KAFKA),
            registry_jar: cache.entry(REGISTRY).join(REGISTRY_JAR),
            engine: cache.entry(ENGINE).join("libchdb.so"),
        }
    }

    /// Removes everything from a cache that is fetched for this version.
    pub(crate) fn remove(cache: &Cache, interrupt: &Interrupt) -> Result<(), StackError> {
        cache.remove(&[KAFKA, REGISTRY, ENGINE], interrupt)
    }

    /// Whether everything has been fetched.
    pub(crate) fn is_complete(&self) -> bool {
        self.kafka_libs.is_dir() && self.registry_jar.is_file() && self.engine.is_file()
    }

    /// Whether what is in a cache is what was pinned, by name.
    pub(crate) fn check(cache: &Cache) -> Vec<(&'static str, Result<(), StackError>)> {
        let downloads = Self::in_cache(cache);
        vec![
            (KAFKA, check_jars(&downloads.kafka_libs)),
            (REGISTRY, check(&downloads.registry_jar, REGISTRY_JAR_SHA256)),
            (ENGINE, check(&downloads.engine, ENGINE_LIBRARY_SHA256)),
        ]
    }

    /// Fetches what is missing.
    ///
    /// # Errors
    /// A missing program, a failed download, a wrong checksum, an interrupt.
    pub(crate) fn fetch(
        cache: &Cache,
        report: Reporter<'_>,
        interrupt: &Interrupt,
    ) -> Result<Self, StackError> {
        let downloads = Self::in_cache(cache);
        if downloads.is_complete() {
            return Ok(downloads);
        }
        let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        if platform != "linux-x86_64" {
            return Err(StackError::Platform(platform));
        }
        for program in prerequisites::all() {
            program?;
        }
        std::thread::scope(|scope| {
            // npm and Maven talk to different servers; Maven's two downloads would share one.
            let engine = scope.spawn(|| fetch_engine(cache, report, interrupt));
            let kafka = fetch_kafka(cache, report, interrupt);
            let registry = kafka.and_then(|()| fetch_registry(cache, report, interrupt));
            let engine = engine.join().unwrap_or(Err(StackError::Interrupted));
            // The first failure is the cause; the other may follow from it.
            registry.and(engine)
        })?;
        Ok(downloads)
    }
}

fn fetch_engine(
    cache: &Cache,
    report: Reporter<'_>,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let fill = |folder: &Path| {
        let started = Instant::now();
        report("clickhouse: fetching the engine, 178 MB (npm)");
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", ENGINE_PACKAGE, "--pack-destination"]).arg(folder);
        fetch(npm, folder, "the ClickHouse engine", interrupt)?;
        let package = folder.join(ENGINE_FILE);
        check(&package, ENGINE_SHA256)?;
        extract(&package, folder, &["package/libchdb.so"], interrupt)?;
        report(&done("clickhouse", &package, started));
        std::fs::remove_file(&package).io_context(|| format!("removing {}", package.display()))
    };
    cache.ensure(ENGINE, interrupt, fill).map(drop)
}

fn fetch_kafka(
    cache: &Cache,
    report: Reporter<'_>,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let fill = |folder: &Path| {
        let started = Instant::now();
        report("kafka: fetching 92 jars, 56 MB (Maven)");
        let mut maven = maven(folder)?;
        maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
        maven.arg(output_folder(folder));
        fetch(maven, folder, "Kafka", interrupt)?;
        std::fs::remove_file(folder.join("pom.xml"))
            .io_context(|| "removing pom.xml".to_owned())?;
        check_jars(folder)?;
        report(&done("kafka", folder, started));
        Ok(())
    };
    cache.ensure(KAFKA, interrupt, fill).map(drop)
}

fn fetch_registry(
    cache: &Cache,
    report: Reporter<'_>,
    interrupt: &Interrupt,
) -> Result<(), StackError> {
    let fill = |folder: &Path| {
        let started = Instant::now();
        report("registry: fetching Apicurio Registry, 109 MB (Maven)");
        let mut maven = maven(folder)?;
        maven.args(["dependency:copy", &format!("-Dartifact={REGISTRY_ARTIFACT}")]);
        maven.arg(output_folder(folder));
        fetch(maven, folder, "the registry", interrupt)?;
        let package = folder.join(REGISTRY_FILE);
        check(&package, REGISTRY_SHA256)?;
        extract(&package, folder, &[], interrupt)?;
        report(&done("registry", &package, started));
        std::fs::remove_file(folder.join("pom.xml"))
            .io_context(|| "removing pom.xml".to_owned())?;
        std::fs::remove_file(&package).io_context(|| format!("removing {}", package.display()))
    };
    cache.ensure(REGISTRY, interrupt, fill).map(drop)
}

fn output_folder(folder: &Path) -> String {
    format!("-DoutputDirectory={}", folder.display())
}

fn maven(folder: &Path) -> Result<Command, StackError> {
    let pom = folder.join("pom.xml");
    std::fs::write(&pom, KAFKA_POM).io_context(|| format!("writing {}", pom.display()))?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(pom);
    Ok(maven)
}

/// Every pinned jar exists unchanged, and no other one.
fn check_jars(folder: &Path) -> Result<(), StackError> {
    let pinned: Vec<(&str, &str)> =
        KAFKA_JARS.lines().filter_map(|line| line.split_once("  ")).collect();
    for (sum, name) in &pinned {
        check(&folder.join(name), sum)?;
    }
    let what = || format!("listing {}", folder.display());
    for entry in std::fs::read_dir(folder).io_context(what)? {
        let name = entry.io_context(what)?.file_name().to_string_lossy().into_owned();
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

fn done(name: &str, path: &Path, started: Instant) -> String {
    format!(
        "{name}: {} MB in {:.1} s, checksums match",
        size(path) / 1_000_000,
        started.elapsed().as_secs_f32()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = include_str!("../../docker-compose.yml");

    #[test]
    fn the_compose_file_runs_the_release_of_the_pinned_engine() {
        let (_, version) = ENGINE_PACKAGE.rsplit_once('@').unwrap();
        let release: Vec<_> = version.split('.').take(2).collect();
        let image = format!("image: clickhouse/clickhouse-server:{}\n", release.join("."));
        assert!(COMPOSE.contains(&image), "docker-compose.yml has no {image}");
    }

    #[test]
    fn the_pom_names_the_version_of_the_folder() {
        let (_, version) = KAFKA.split_once('-').unwrap();
        assert_eq!(KAFKA_POM.matches(&format!("<version>{version}</version>")).count(), 2);
        assert!(KAFKA_JARS.contains(&format!("  kafka_2.13-{version}.jar\n")));
    }

    #[test]
    fn every_jar_of_the_manifest_has_a_checksum() {
        for line in KAFKA_JARS.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            assert!(sum.len() == 64 && name.ends_with(".jar"), "{line}");
        }
    }
}
