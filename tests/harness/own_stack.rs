//! One test's own stack or PostgreSQL, for tests that kill parts or read their files.

use std::fmt::Write as _;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use stack::{Brokers, Cache, Interrupt, Part, PortChoice, Postgres, SmallDisk, Stack, StackError};
use tempfile::TempDir;

/// A running stack in its own folder; its drop stops the stack and removes the folder.
#[derive(Debug)]
pub struct OwnStack {
    stack: Stack,
    _folder: TempDir,
}

impl OwnStack {
    /// Starts all parts and waits until they answer.
    ///
    /// # Panics
    /// When one does not start.
    pub fn up() -> Self {
        Self::of(&Part::ALL)
    }

    /// Like [`OwnStack::up`], with some parts only.
    ///
    /// # Panics
    /// When one does not start.
    pub fn of(parts: &[Part]) -> Self {
        Self::by(PortChoice::default(), parts)
    }

    /// Like [`OwnStack::up`], with three brokers.
    ///
    /// # Panics
    /// When one does not start.
    pub fn with_three_brokers() -> Self {
        let choice = PortChoice { brokers: Some(Brokers::Three), ..PortChoice::default() };
        Self::by(choice, &Part::ALL)
    }

    /// Prometheus with the shipped files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_prometheus() -> Self {
        let choice = PortChoice { prometheus: true, ..PortChoice::default() };
        Self::by(choice, &[Part::Prometheus])
    }

    /// Prometheus and Alertmanager, with these files (path in the folder of the stack, and text) in place of
    /// the shipped ones.
    ///
    /// # Panics
    /// When one does not start.
    pub fn with_alerts(files: &[(String, String)]) -> Self {
        let choice = PortChoice { alertmanager: true, prometheus: true, ..PortChoice::default() };
        let own = Self::open(choice, &[]);
        for (path, text) in files {
            let path = own.folder().join(path);
            let folder = path.parent().expect("a file has a folder");
            std::fs::create_dir_all(folder).expect("a folder can be created");
            std::fs::write(path, text).expect("a file can be written");
        }
        own.stack.up_parts(&[Part::Alertmanager, Part::Prometheus]).expect("the parts start");
        own
    }

    /// Starts some parts with their data on small disks.
    ///
    /// # Errors
    /// A small disk cannot be mounted: that needs the right to mount.
    ///
    /// # Panics
    /// When a part does not start.
    pub fn on_small_disks(disks: &[SmallDisk]) -> Result<Self, StackError> {
        let own = Self::open(PortChoice::default(), disks);
        let parts: Vec<Part> = disks.iter().map(|disk| disk.part).collect();
        match own.stack.up_parts(&parts) {
            Err(error @ StackError::MountDenied(_)) => Err(error),
            up => {
                up.expect("the parts start");
                Ok(own)
            }
        }
    }

    fn by(choice: PortChoice, parts: &[Part]) -> Self {
        // The drop stops the parts, also if one does not start.
        let own = Self::open(choice, &[]);
        own.stack.up_parts(parts).expect("the parts start");
        own
    }

    fn open(choice: PortChoice, disks: &[SmallDisk]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be created");
        let choice = PortChoice { auto: true, ..choice };
        let cache = Cache::shared().expect("there is a folder for downloads");
        let stack = Stack::open(folder.path(), cache, choice).expect("a stack can be opened");
        Self { stack: stack.with_small_disks(disks), _folder: folder }
    }
}

impl Deref for OwnStack {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        self.stack.down().and_then(|_| self.stack.drop_disks()).ok();
    }
}

/// A running PostgreSQL in its own folder; its drop stops the server and removes the folder.
#[derive(Debug)]
pub struct OwnPostgres {
    server: Postgres,
    folder: TempDir,
}

impl OwnPostgres {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn up() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be created");
        let cache = Cache::shared().expect("there is a folder for downloads");
        let server = Postgres::open(folder.path(), cache, Interrupt::default());
        let own = Self { server: server.expect("a server can be opened"), folder };
        own.server.up(&|_| {}).expect("PostgreSQL starts");
        own
    }

    /// Like [`OwnPostgres::up`], with TLS and a self-signed certificate for `localhost`. The second
    /// value is the file of the certificate.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_tls() -> (Self, PathBuf) {
        let own = Self::up();
        own.crash();
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| own.folder.path().join(name));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let made = openssl.output().expect("openssl is installed: run ./prerequisites.sh");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = own.folder.path().join("data/postgresql.conf");
        let mut text = std::fs::read_to_string(&settings).expect("its settings");
        let (certificate_path, key) = (certificate.display(), key.display());
        write!(text, "\nssl = on\nssl_cert_file = '{certificate_path}'\nssl_key_file = '{key}'\n")
            .ok();
        std::fs::write(&settings, text).expect("its settings");
        own.again();
        (own, certificate)
    }

    /// Its URL.
    ///
    /// # Panics
    /// Never, once it was started.
    pub fn url(&self) -> String {
        self.server.url().expect("a server that was started has a port")
    }

    /// Kills it, as a crash does.
    ///
    /// # Panics
    /// When it does not end.
    pub fn crash(&self) {
        self.server.down(true).expect("PostgreSQL can be ended");
    }

    /// Starts it again after a crash.
    ///
    /// # Panics
    /// When it does not start.
    pub fn again(&self) {
        self.server.up(&|_| {}).expect("PostgreSQL starts again");
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        self.server.down(true).ok();
    }
}
