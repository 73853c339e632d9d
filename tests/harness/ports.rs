//! Free ports for programs that take their port from a flag.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range of ports for outgoing connections: the system may use a port of this range between
/// the check and the start of the program, and sometimes does.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A loopback port on which no program listens, and which no other call returns.
///
/// # Panics
/// When all ports are in use.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// An address that does not answer.
pub fn closed_port() -> SocketAddr {
    free_port()
}
