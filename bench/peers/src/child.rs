//! One server in a process of its own, and what the system says of it.

use crate::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

/// The servers, ours first.
pub(crate) const PEERS: [&str; 5] = [
    "tidegate",
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
];

/// A running server; it ends with its standard input.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
    /// What a client has to trust, with TLS.
    pub(crate) certificate: Vec<u8>,
}

impl Server {
    pub(crate) fn start(peer: &str, tls: bool) -> Result<Server> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["serve", peer]).args(tls.then_some("--tls"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let (port, hex) = line
            .trim_end_matches('\n')
            .split_once(' ')
            .ok_or("no port")?;
        let octets = hex.as_bytes().chunks(2).map(str::from_utf8);
        let octets = octets.map(|octet| Ok(u8::from_str_radix(octet?, 16)?));
        Ok(Server {
            child,
            port: port.parse()?,
            certificate: octets.collect::<Result<_>>()?,
        })
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = smaps.lines().find(|line| line.starts_with("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.ok_or("no Rss")?.parse::<u64>()? * 1024)
    }

    /// CPU time used so far by its only thread, in nanoseconds.
    pub(crate) fn cpu(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        Ok(stat
            .split_whitespace()
            .next()
            .ok_or("no CPU time")?
            .parse()?)
    }

    /// Keeps it on one CPU, and this process on another, where there are two.
    pub(crate) fn pin(&self) -> Result<()> {
        if std::thread::available_parallelism()?.get() < 2 {
            return Ok(());
        }
        let cpu = |n| {
            let mut set = rustix::thread::CpuSet::new();
            set.set(n);
            set
        };
        let child = rustix::process::Pid::from_child(&self.child);
        rustix::thread::sched_setaffinity(Some(child), &cpu(0))?;
        rustix::thread::sched_setaffinity(None, &cpu(1))?;
        Ok(())
    }

    /// A connection whose opening handshake is done.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        tcp.set_nodelay(true)?;
        shake_hands(&mut tcp)?;
        Ok(tcp)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The opening handshake over any transport.
pub(crate) fn shake_hands<S: Read + Write>(io: &mut S) -> Result<()> {
    io.write_all(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )?;
    io.flush()?;
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        io.read_exact(&mut octet)?;
        head.push(octet[0]);
    }
    match head.starts_with(b"HTTP/1.1 101") {
        true => Ok(()),
        false => Err("the handshake was refused".into()),
    }
}

/// A binary message as a client sends it, and as a server sends it back.
pub(crate) fn message(len: usize) -> (Vec<u8>, Vec<u8>) {
    let header = |mask: u8| match len {
        0..=125 => vec![0x82, mask | len as u8],
        126..=0xFFFF => vec![0x82, mask | 126, (len >> 8) as u8, len as u8],
        _ => [vec![0x82, mask | 127], (len as u64).to_be_bytes().to_vec()].concat(),
    };
    let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let masked = payload.iter().zip(key.iter().cycle()).map(|(p, k)| p ^ k);
    let sent = header(0x80).into_iter().chain(key).chain(masked).collect();
    (sent, [header(0), payload].concat())
}
