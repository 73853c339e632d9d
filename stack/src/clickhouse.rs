//! ClickHouse's part of the stack: the front and its engine as processes of their own, in a
//! folder of their own, because the engine reads a `config.xml` from its working folder.

use std::path::{Path, PathBuf};

use crate::error::{IoContext as _, StackError};
use crate::http_probe;
use crate::part::Part;
use crate::ports::Ports;
use crate::process::{Launch, PartProcess};

/// Name and password of the user that may do everything.
pub(crate) const USER: (&str, &str) = ("clicktrail", "clicktrail");
/// Name and password of the user that may only read.
pub(crate) const READER: (&str, &str) = ("reader", "reader");
/// The product's database.
pub(crate) const DATABASE: &str = "clicktrail";

/// How to start the front: a hidden subcommand of this program.
pub(crate) fn prepare(
    process: &PartProcess,
    folder: &Path,
    engine: &Path,
    program: PathBuf,
    ports: &Ports,
) -> Result<Launch, StackError> {
    let cwd = folder.join("cwd");
    std::fs::create_dir_all(&cwd)
        .io_context(|| format!("preparing ClickHouse in {}", folder.display()))?;
    let (data, spill) = (folder.join("data"), folder.join("spill"));
    // No process uses what a killed front left there.
    std::fs::remove_dir_all(&spill).ok();
    let arguments = vec![
        "front".into(),
        "--listen".into(),
        ports.address(Part::ClickHouse).to_string().into(),
        "--data".into(),
        data.into(),
        "--spill".into(),
        spill.into(),
        "--library".into(),
        engine.into(),
        "--mark".into(),
        process.mark.clone().into(),
    ];
    let variables = vec![("TZ", "UTC".to_owned())];
    Ok(Launch { program, arguments, variables, folder: cwd })
}

/// Whether the front answers.
pub(crate) fn serves(ports: &Ports) -> bool {
    http_probe::http_status(ports.address(Part::ClickHouse), "/ping") == Some(200)
}

/// The users of the front.
pub fn users() -> Vec<clickhouse_front::User> {
    [(USER, false), (READER, true)]
        .map(|((name, password), read_only)| clickhouse_front::User {
            name: name.to_owned(),
            password: password.to_owned(),
            read_only,
        })
        .to_vec()
}
