//! The client of the counted server. It writes a round to all connections while the server is held, then reads all
//! answers; it checks every octet of them.

use crate::Result;
use crate::source::{self, KEY};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What a round is.
struct Scenario {
    name: &'static str,
    path: &'static str,
    connections: usize,
    /// How many of the connections send.
    senders: usize,
    /// Messages each of them sends in one write.
    depth: usize,
    /// Messages that each connection gets.
    gets: usize,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "echo/1/125",
        path: "/echo",
        connections: 100,
        senders: 100,
        depth: 1,
        gets: 1,
    },
    Scenario {
        name: "echo/64/125",
        path: "/echo",
        connections: 100,
        senders: 100,
        depth: 64,
        gets: 64,
    },
    Scenario {
        name: "fanout/1/125",
        path: "/room",
        connections: 200,
        senders: 1,
        depth: 1,
        gets: 1,
    },
    Scenario {
        name: "fanout/16/125",
        path: "/room",
        connections: 200,
        senders: 1,
        depth: 16,
        gets: 16,
    },
];

/// `tidegate-gate scenarios`
pub(crate) fn list() -> Result<()> {
    SCENARIOS
        .iter()
        .for_each(|scenario| println!("{}", scenario.name));
    Ok(())
}

/// `tidegate-gate drive SCENARIO ROUNDS COMMAND…`
pub(crate) fn job(name: &str, rounds: &str, command: &[&str]) -> Result<()> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = found.ok_or("no such scenario; see `scenarios`")?;
    let rounds: usize = rounds.parse()?;
    let mut server = Server::start(command)?;
    let mut clients = Vec::new();
    for _ in 0..scenario.connections {
        clients.push(connect(server.port, scenario.path)?);
    }
    let mut holder = connect(server.port, "/hold")?;
    let sent = source::text(PAYLOAD, KEY).repeat(scenario.depth);
    let expected = [&[0x81, PAYLOAD.len() as u8], PAYLOAD]
        .concat()
        .repeat(scenario.gets);
    let mut got = vec![0; expected.len()];
    for _ in 0..rounds {
        server.hold(&mut holder)?;
        for client in &mut clients[..scenario.senders] {
            client.write_all(&sent)?;
        }
        server.let_go()?;
        for client in &mut clients {
            client.read_exact(&mut got)?;
            if got != expected {
                return Err("an answer is not what was sent".into());
            }
        }
    }
    drop((clients, holder));
    let messages = rounds * scenario.connections * scenario.gets;
    println!("{messages} {}", server.end()?);
    Ok(())
}

/// A connection whose opening handshake is done.
fn connect(port: u16, path: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&source::request(path, ""))?;
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut octet)?;
        head.push(octet[0]);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(socket),
        false => Err("the handshake was refused".into()),
    }
}

/// The server's process, or that of what counts its system calls.
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(command: &[&str]) -> Result<Server> {
        let (program, words) = command.split_first().ok_or("drive: which command?")?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut server = Server {
            child,
            stdin: stdin.ok_or("no stdin")?,
            stdout: BufReader::new(stdout.ok_or("no stdout")?),
            port: 0,
        };
        server.port = server.line()?.parse()?;
        Ok(server)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn hold(&mut self, holder: &mut TcpStream) -> Result<()> {
        holder.write_all(&source::text(b"hold", KEY))?;
        match self.line()?.as_str() {
            "held" => Ok(()),
            other => Err(format!("the server said `{other}` instead of waiting").into()),
        }
    }

    fn let_go(&mut self) -> Result<()> {
        self.stdin.write_all(b"\n")?;
        Ok(self.stdin.flush()?)
    }

    /// What it has allocated in all; it must end well.
    fn end(mut self) -> Result<u64> {
        let allocations = self.line()?.parse()?;
        match self.child.wait()?.success() {
            true => Ok(allocations),
            false => Err("the server ended badly".into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PAYLOAD: &[u8] = &[b'a'; 125];
/// A socket that is silent for so long will say nothing more.
const PATIENCE: Duration = Duration::from_secs(60);
