//! `healthcheck`: asks the admin port of a running service, for images without a shell.
//!
//! Blocking and small: a supervisor starts it every few seconds.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

/// Far below what supervisors wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of an answer, which is two lines.
const ANSWER_MAX: u64 = 4096;

/// Why the service is not to get work.
#[derive(Debug, Error)]
pub enum Unhealthy {
    /// Nobody answers.
    #[error("http://{0}/readyz does not answer: {1}")]
    Silent(SocketAddr, std::io::Error),
    /// It says so itself.
    #[error("http://{0}/readyz says: {1}")]
    NotReady(SocketAddr, String),
}

/// Asks `/readyz` of the admin port that the service listens on; the answer's text when it is ready.
///
/// # Errors
/// [`Unhealthy`], within four seconds.
pub fn ask(listens: SocketAddr) -> Result<String, Unhealthy> {
    let address = reachable(listens);
    let answer = exchange(address).map_err(|error| Unhealthy::Silent(address, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let body = body.trim().to_owned();
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        Some(_) | None => Err(Unhealthy::NotReady(address, body)),
    }
}

fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Who listens on every address is asked on loopback.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listens.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answers(text: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /readyz "));
            stream.write_all(text.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn ready_is_told_from_not_ready_and_from_silence() {
        let ready = answers("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n");
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ready.port());
        assert_eq!(ask(everywhere).unwrap(), "ready");
        let stopping = answers("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: stopping\n");
        assert!(ask(stopping).unwrap_err().to_string().ends_with("not ready: stopping"));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(ask(closed), Err(Unhealthy::Silent(..))));
        assert!(matches!(ask(answers("nonsense")), Err(Unhealthy::NotReady(..))));
    }
}
