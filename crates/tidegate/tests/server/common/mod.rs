//! A client made of plain sockets, independent of the code under test; each wait in it ends after 5 s.

pub(crate) mod tls;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;
use tidegate::{Echo, Running, Server, ServerBuilder};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// An echo on a free port.
pub(crate) fn echo(workers: usize) -> Running<std::convert::Infallible> {
    start(Server::builder().workers(workers))
}

pub(crate) fn start(builder: ServerBuilder<Echo>) -> Running<std::convert::Infallible> {
    builder
        .listen(loopback())
        .start(|_| Echo::default())
        .expect("a free port")
}

/// Drains a server and joins it, within the time a test may take.
pub(crate) fn stop<M>(server: Running<M>) {
    server.drain(Duration::ZERO);
    server.join().expect("no worker died");
}

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_nodelay(true).expect("an option");
    socket
}

pub(crate) fn request(addr: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A WebSocket client over any stream.
pub(crate) struct Client<S>(pub(crate) S);

impl Client<TcpStream> {
    pub(crate) fn open(addr: SocketAddr) -> Client<TcpStream> {
        Client(connect(addr)).upgrade(addr)
    }

    /// Closes the socket so that the server gets RST.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.0);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    pub(crate) fn half_close(&self) {
        self.0.shutdown(Shutdown::Write).expect("it is open");
    }
}

impl<S: Read + Write> Client<S> {
    /// The opening handshake.
    pub(crate) fn upgrade(mut self, addr: SocketAddr) -> Client<S> {
        self.0
            .write_all(request(addr, "/").as_bytes())
            .expect("it is taken");
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        self
    }

    /// Reads an HTTP head, no octet more.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            self.0.read_exact(&mut octet).expect("a whole head");
            head.push(octet[0]);
        }
        String::from_utf8(head).expect("a head is ASCII")
    }

    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.0
            .write_all(&frame(opcode, payload))
            .expect("it is taken");
    }

    /// The next frame: its opcode and payload. It must be final and unmasked.
    pub(crate) fn receive(&mut self) -> (u8, Vec<u8>) {
        self.try_receive().expect("a frame")
    }

    pub(crate) fn try_receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut start = [0; 2];
        self.0.read_exact(&mut start)?;
        assert_eq!(start[0] & 0xF0, 0x80, "final, no reserved bits");
        let len = match start[1] {
            126 => {
                let mut field = [0; 2];
                self.0.read_exact(&mut field)?;
                u64::from(u16::from_be_bytes(field))
            }
            127 => {
                let mut field = [0; 8];
                self.0.read_exact(&mut field)?;
                u64::from_be_bytes(field)
            }
            short => u64::from(short), // 128 and more, a masked frame, shows as a payload too long
        };
        let mut payload = vec![0; usize::try_from(len).expect("it fits")];
        self.0.read_exact(&mut payload)?;
        Ok((start[0] & 0x0F, payload))
    }

    pub(crate) fn echoes(&mut self, opcode: u8, payload: &[u8]) {
        self.send(opcode, payload);
        let (got_opcode, got) = self.receive();
        assert_eq!(got_opcode, opcode);
        assert!(
            got == payload,
            "{} octets came back for {}",
            got.len(),
            payload.len()
        );
    }

    /// Reads to the end; says the code of the Close frame that must come, with nothing behind it.
    pub(crate) fn close_code(&mut self) -> u16 {
        let (opcode, body) = self.receive();
        assert_eq!(opcode, CLOSE, "{body:?}");
        u16::from_be_bytes([body[0], body[1]])
    }

    /// Reads everything until the server ends the connection, in whatever way.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest);
        rest
    }
}

/// A masked frame, as clients send them.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(octet, key)| octet ^ key),
    );
    frame
}

/// Octets that a wrong offset would show.
pub(crate) fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Runs the named test in a process of its own, because it measures or limits its whole process. True in
/// that process; in the other one it is over.
pub(crate) fn alone(test: &str) -> bool {
    const MARK: &str = "TIDEGATE_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let own = std::env::current_exe().expect("a test binary");
    let output = std::process::Command::new(own)
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("1 passed"),
        "{test} is not the name of a test: {said}"
    );
    false
}

/// CPU this process uses while this thread sleeps.
pub(crate) fn cpu_time_over(span: Duration) -> Duration {
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let before = used();
    std::thread::sleep(span);
    used() - before
}
