//! A fault proxy for the schema registry: it forwards requests, or answers as a registry would that
//! is broken, overloaded, stuck, empty, or another one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);
const READ_MAX: Duration = Duration::from_secs(30);
const JSON: &str = "application/vnd.schemaregistry.v1+json";

/// A fault of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryFault {
    /// Requests are forwarded.
    None,
    /// Every request is answered with this status, as by a gateway.
    Status(u16),
    /// No request is answered.
    Hang,
    /// It knows its subjects, and none of the ids that it has assigned.
    NoIds,
    /// It has no subject and no id.
    Empty,
    /// Every id is the id of this schema.
    Schema(String),
}

/// A text that names no fault of the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault; the faults are status=CODE, hang, no-ids, empty and schema=TEXT")]
pub struct InvalidRegistryFault;

impl FromStr for RegistryFault {
    type Err = InvalidRegistryFault;

    fn from_str(text: &str) -> Result<Self, InvalidRegistryFault> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("none", "") => Ok(Self::None),
            ("hang", "") => Ok(Self::Hang),
            ("no-ids", "") => Ok(Self::NoIds),
            ("empty", "") => Ok(Self::Empty),
            ("status", code) => code.parse().map(Self::Status).map_err(|_| InvalidRegistryFault),
            ("schema", schema) => Ok(Self::Schema(schema.to_owned())),
            _ => Err(InvalidRegistryFault),
        }
    }
}

/// A running fault proxy for one registry, on a port of its own; it ends with its process.
#[derive(Debug)]
pub struct RegistryProxy {
    /// Its base URL.
    pub url: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: String,
    fault: Mutex<RegistryFault>,
    /// Requests that a fault was injected into.
    injected: AtomicU32,
}

impl State {
    fn fault(&self) -> RegistryFault {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

impl RegistryProxy {
    /// Starts a proxy for `url`, without a fault.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(url: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let own = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State {
            target: url.to_owned(),
            fault: Mutex::new(RegistryFault::None),
            injected: AtomicU32::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that disconnects is no error of the proxy.
                std::thread::spawn(move || serve(client, &state).ok());
            }
        });
        Ok(Self { url: own, state })
    }

    /// Sets the fault from now on.
    pub fn set(&self, fault: RegistryFault) {
        *self.state.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Requests that a fault was injected into so far.
    pub fn injected(&self) -> u32 {
        self.state.injected.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, state: &State) -> std::io::Result<()> {
    client.set_read_timeout(Some(READ_MAX))?;
    let mut reader = BufReader::new(client);
    let Some(request) = read(&mut reader)? else { return Ok(()) };
    let fault = state.fault();
    let (status, body) = match &fault {
        RegistryFault::Status(status) => (*status, "<html>a gateway</html>".to_owned()),
        RegistryFault::Hang => {
            state.injected.fetch_add(1, Ordering::SeqCst);
            while state.fault() == fault {
                std::thread::sleep(PAUSE);
            }
            return Ok(());
        }
        RegistryFault::Empty if !request.is_by_id() => (404, error(40_401, "Subject not found")),
        RegistryFault::Empty | RegistryFault::NoIds if request.is_by_id() => {
            (404, error(40_403, "Schema not found"))
        }
        RegistryFault::Schema(schema) if request.is_by_id() => {
            (200, serde_json::json!({ "schema": schema }).to_string())
        }
        RegistryFault::None
        | RegistryFault::NoIds
        | RegistryFault::Empty
        | RegistryFault::Schema(_) => return forward(&request, reader.get_mut(), state),
    };
    state.injected.fetch_add(1, Ordering::SeqCst);
    answer(reader.get_mut(), status, &body)
}

fn forward(request: &Request, client: &mut TcpStream, state: &State) -> std::io::Result<()> {
    let target = state.target.trim_start_matches("http://");
    let (host, prefix) = target.split_at(target.find('/').unwrap_or(target.len()));
    // If the registry is unreachable, the connection is closed.
    let mut server = TcpStream::connect(host)?;
    server.set_read_timeout(Some(READ_MAX))?;
    write!(
        server,
        "{} {prefix}{} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        request.method,
        request.path,
        request.body.len()
    )?;
    server.write_all(&request.body)?;
    std::io::copy(&mut server, client).map(drop)
}

fn answer(client: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(
        client,
        "HTTP/1.1 {status} x\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn error(code: u32, message: &str) -> String {
    serde_json::json!({ "error_code": code, "message": message }).to_string()
}

impl Request {
    fn is_by_id(&self) -> bool {
        self.path.starts_with("/schemas/ids/")
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    Ok(Some(Request { method, path, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_registry_have_names() {
        assert_eq!("status=429".parse(), Ok(RegistryFault::Status(429)));
        assert_eq!("schema={}".parse(), Ok(RegistryFault::Schema("{}".to_owned())));
        for text in ["", "status", "status=x", "hang=1"] {
            assert_eq!(text.parse::<RegistryFault>(), Err(InvalidRegistryFault), "{text}");
        }
    }
}
