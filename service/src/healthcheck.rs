//! `healthcheck`: requests /readyz of a running service, for images without a shell.
//!
//! Blocking and small: a supervisor starts it every few seconds.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

/// Limit of each step, far below the timeout of supervisors.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of an answer, which is two lines.
const ANSWER_MAX: u64 = 4096;

/// Why the service is not healthy.
#[derive(Debug, Error)]
pub enum Unhealthy {
    /// The port does not answer.
    #[error("http://{0}/readyz does not answer: {1}")]
    NoAnswer(SocketAddr, std::io::Error),
    /// The service answers that it is not ready.
    #[error("http://{0}/readyz answers: {1}")]
    NotReady(SocketAddr, String),
}

/// Requests `/readyz` of the admin port at `listens`; returns the text of the answer if the service is ready.
///
/// # Errors
/// [`Unhealthy`], within four seconds.
pub fn check(listens: SocketAddr) -> Result<String, Unhealthy> {
    let address = reachable(listens);
    let answer = exchange(address).map_err(|error| Unhealthy::NoAnswer(address, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let body = body.trim().to_owned();
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        Some(_) | None => Err(Unhealthy::NotReady(address, body)),
    }
}

fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The loopback address of a service that listens on every address.
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
    fn ready_not_ready_and_no_answer_are_distinguished() {
        let ready = answers("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n");
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ready.port());
        assert_eq!(check(everywhere).unwrap(), "ready");
        let stopping = answers("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: stopping\n");
        assert!(check(stopping).unwrap_err().to_string().ends_with("not ready: stopping"));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(check(closed), Err(Unhealthy::NoAnswer(..))));
        assert!(matches!(check(answers("nonsense")), Err(Unhealthy::NotReady(..))));
    }
}
