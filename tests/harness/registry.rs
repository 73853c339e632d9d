//! A door before the schema registry: it lets requests through, or answers as a registry would
//! that is broken, overloaded, stuck, empty, or another one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::web;

const PAUSE: Duration = Duration::from_millis(20);
const READ_MAX: Duration = Duration::from_secs(30);
const JSON: &str = "application/vnd.schemaregistry.v1+json";

/// How the registry behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryFault {
    /// As it is.
    None,
    /// Every request is answered with this status, in the words of a gateway.
    Status(u16),
    /// No request is answered.
    Hang,
    /// It knows its subjects, and none of the ids that it once gave.
    NoIds,
    /// It knows nothing at all.
    Empty,
    /// Every id is that of this schema.
    Schema(&'static str),
}

/// A door to one registry, on a port of its own; it goes with the test's process.
#[derive(Debug)]
pub struct RegistryDoor {
    /// Its base URL.
    pub url: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: String,
    fault: Mutex<RegistryFault>,
    /// Requests that met a fault.
    met: AtomicU32,
}

impl State {
    fn fault(&self) -> RegistryFault {
        self.fault.lock().expect("nobody panics with it in hand").clone()
    }
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

impl RegistryDoor {
    /// A door to `url`, open.
    ///
    /// # Panics
    /// When there is no port.
    pub fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            target: url.to_owned(),
            fault: Mutex::new(RegistryFault::None),
            met: AtomicU32::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is no concern of anybody's.
                std::thread::spawn(move || serve(client, &state).ok());
            }
        });
        Self { url: own, state }
    }

    /// From now on it behaves like this.
    pub fn set(&self, fault: RegistryFault) {
        *self.state.fault.lock().expect("nobody panics with it in hand") = fault;
    }

    /// Requests that met a fault so far.
    pub fn met(&self) -> u32 {
        self.state.met.load(Ordering::SeqCst)
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
            state.met.fetch_add(1, Ordering::SeqCst);
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
        _ => return pass(&request, reader.get_mut(), state),
    };
    state.met.fetch_add(1, Ordering::SeqCst);
    answer(reader.get_mut(), status, &body)
}

fn pass(request: &Request, client: &mut TcpStream, state: &State) -> std::io::Result<()> {
    let url = format!("{}{}", state.target, request.path);
    let headers = [("Content-Type", JSON)];
    match web::request(&request.method, &url, &headers, request.body.clone()) {
        Ok(real) => answer(client, real.status, &real.body),
        // It is away: so are we.
        Err(_) => Ok(()),
    }
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
