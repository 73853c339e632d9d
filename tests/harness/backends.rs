//! The addresses of the shared stack and the paths of the programs under test.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stack::Stack;

const START: &str = "start the backends and the tests with `make test`, or with \
    `target/debug/stack run -- cargo test --workspace --test it`";

/// The stack's addresses and users, as `stack env` prints them.
#[derive(Debug, Clone)]
pub struct Backends {
    /// `host:port` of each broker, comma-separated.
    pub kafka: String,
    /// Base URL of the schema registry.
    pub registry: String,
    /// Base URL of ClickHouse.
    pub clickhouse: String,
    /// The administrator and its password.
    pub user: (String, String),
    /// The read-only user and its password.
    pub reader: (String, String),
    /// Folder of Kafka's own tools.
    pub kafka_libs: PathBuf,
}

impl Backends {
    /// Reads the environment and connects to each address.
    ///
    /// # Panics
    /// When an address is not set or does not answer, with the command that starts the stack.
    pub fn find() -> Self {
        let backends = Self::of(|name| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: {START}"))
        });
        let others = [backends.registry.as_str(), &backends.clickhouse];
        for url in backends.kafka.split(',').chain(others) {
            let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
            let connect = || {
                let address = host.to_socket_addrs().ok()?.next()?;
                TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()
            };
            assert!(connect().is_some(), "{url} does not answer: {START}");
        }
        backends
    }

    /// The addresses of a test's own stack.
    ///
    /// # Panics
    /// When it has no addresses.
    pub fn on(stack: &Stack) -> Self {
        let env: BTreeMap<_, _> = stack.env().expect("a stack has addresses").into_iter().collect();
        Self::of(|name| env[name].clone())
    }

    /// Reads the variables that a stack prints.
    pub fn of(read: impl Fn(&str) -> String) -> Self {
        Self {
            kafka: read("KAFKA_BROKERS"),
            registry: read("SCHEMA_REGISTRY_URL").trim_end_matches('/').to_owned(),
            clickhouse: read("CLICKHOUSE_URL").trim_end_matches('/').to_owned(),
            user: (read("CLICKHOUSE_USER"), read("CLICKHOUSE_PASSWORD")),
            reader: (read("CLICKHOUSE_READONLY_USER"), read("CLICKHOUSE_READONLY_PASSWORD")),
            kafka_libs: read("KAFKA_LIBS").into(),
        }
    }
}

/// The top of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the checkout")
}

/// A program of this workspace, from the same build as the running test.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    // Tests run from `target/…/deps`, other programs from the folder above.
    let mut paths = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let path = paths.find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace --bins`"))
}
