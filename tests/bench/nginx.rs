//! nginx as the baseline: one worker, the same 302, and a buffered access log, so that it records each
//! visit, too.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use harness::{Child, free_port, until};

/// A running nginx.
pub struct Nginx {
    /// `host:port`.
    pub host: String,
    /// The process.
    pub child: Child,
    log: PathBuf,
}

impl Nginx {
    /// Starts nginx in its own folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let program = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
            Command::new(program).arg("-v").output().is_ok_and(|output| output.status.success())
        });
        let program =
            program.context("no nginx: apt-get install nginx-light, for this line only")?;
        std::fs::create_dir_all(folder)?;
        let (address, place) = (free_port(), folder.display());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {place}/{name};\n"))
            .collect();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n{temporary}keepalive_requests 100000000;\n\
             log_format line '$msec $remote_addr $host $request $status $http_referer $http_user_agent';\n\
             access_log {place}/access.log line buffer=64k flush=1s;\n\
             server {{ listen {address}; location / {{\n\
             add_header Cache-Control 'private, no-store';\n\
             return 302 https://example.com/landing?utm_source=mail;\n}} }}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(folder).arg("-e").arg(folder.join("error.log"));
        let child = Child::start(command, folder.join("nginx"));
        let host = address.to_string();
        until("nginx answers", || std::net::TcpStream::connect(&host).ok());
        Ok(Self { host, child, log: folder.join("access.log") })
    }

    /// Empties the access log, which nginx appends to.
    pub fn empty_log(&self) -> Result<()> {
        File::create(&self.log).context("the access log of nginx").map(drop)
    }
}
