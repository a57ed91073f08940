//! An upstream without manners: what it answers stands in the path it is asked for, and whatever comes after is written
//! down. It ends with the process.

// Not our own code: what is examined must not answer itself.
#[path = "../../../tests/guard/support/sha1.rs"]
mod sha1;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sh::Result;

pub(super) struct Upstream {
    port: u16,
    seen: Arc<Seen>,
}

/// All octets that came, of all connections.
#[derive(Default)]
struct Seen {
    octets: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Seen {
    fn add(&self, octets: &[u8]) {
        let mut all = self.octets.lock().expect("no panic");
        all.extend_from_slice(octets);
        self.more.notify_all();
    }
}

impl Upstream {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let notes = Arc::clone(&notes);
                // An error is the other side's end.
                std::thread::spawn(move || drop(serve(stream, &notes)));
            }
        });
        Ok(Self { port, seen })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What follows is about what comes from now on.
    pub(super) fn forget(&self) {
        self.seen.octets.lock().expect("no panic").clear();
    }

    /// Whether these octets have come, now or within the time.
    pub(super) fn saw(&self, octets: &[u8], within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut all = self.seen.octets.lock().expect("no panic");
        loop {
            if all.windows(octets.len()).any(|window| window == octets) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            all = self.seen.more.wait_timeout(all, left).expect("no panic").0;
        }
    }
}

/// One connection: each request gets what its path says, until one is a tunnel.
fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    loop {
        let head = head(&mut stream, seen)?;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let accept = accept(&head);
        let right = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let answer: &[u8] = match path.as_str() {
            "/ws/426" => b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
            "/ws/late" => {
                // Long enough for what was sent along to be passed on, if it is.
                std::thread::sleep(Duration::from_millis(400));
                b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"
            }
            "/ws/200" => b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
            "/ws/bare" => b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "/ws/wrong" => {
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
            }
            "/ws/right" => right.as_bytes(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nreached",
        };
        stream.write_all(answer)?;
        if answer.starts_with(b"HTTP/1.1 101") {
            let mut buffer = [0; 4_096];
            loop {
                let n = stream.read(&mut buffer)?;
                if n == 0 {
                    return Ok(());
                }
                seen.add(&buffer[..n]);
            }
        }
    }
}

/// A head, written down as it comes.
fn head(stream: &mut TcpStream, seen: &Seen) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut octet)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        seen.add(&octet);
        head.push(octet[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The right answer to the request's key (RFC 6455 §4.2.2).
fn accept(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim().to_owned())
    });
    sha1::accept(&key.unwrap_or_default())
}
