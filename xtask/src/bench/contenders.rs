//! Who is measured: our server and the peers, each started on a free port, on a core of its own where there are two.
//! Each ends with its standard input, or is killed by its own process id.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::port_in;
use crate::setup;
use crate::sh::{self, Result, free_port};
use crate::tree;

/// A server that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contender {
    /// `tidegate serve`, as it is shipped.
    Tidegate,
    /// The same, its channels spoken to in protobuf.
    TidegateProtobuf,
    /// Our engine alone, for what `serve` has no path for.
    Engine,
    TokioTungstenite,
    Fastwebsockets,
    TokioWebsockets,
    Yawc,
    SockudoWs,
    Ws,
    Bun,
    SocketIo,
    Nats,
}

use Contender::{
    Bun, Engine, Fastwebsockets, Nats, SocketIo, SockudoWs, Tidegate, TidegateProtobuf,
    TokioTungstenite, TokioWebsockets, Ws, Yawc,
};

/// All there are.
pub(crate) const ALL: [Contender; 12] = [
    Tidegate,
    TidegateProtobuf,
    Engine,
    TokioTungstenite,
    Fastwebsockets,
    TokioWebsockets,
    Yawc,
    SockudoWs,
    Ws,
    Bun,
    SocketIo,
    Nats,
];
/// Libraries in Rust.
pub(crate) const RUST: [Contender; 5] = [
    TokioTungstenite,
    Fastwebsockets,
    TokioWebsockets,
    Yawc,
    SockudoWs,
];

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tidegate => "tidegate",
            TidegateProtobuf => "tidegate-protobuf",
            Engine => "engine",
            TokioTungstenite => "tokio-tungstenite",
            Fastwebsockets => "fastwebsockets",
            TokioWebsockets => "tokio-websockets",
            Yawc => "yawc",
            SockudoWs => "sockudo-ws",
            Ws => "ws",
            Bun => "bun",
            SocketIo => "socket.io",
            Nats => "nats",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Contender> {
        let found = ALL.into_iter().find(|contender| contender.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|contender| contender.name()).collect();
            format!("there is no {name}; there are {}", names.join(" ")).into()
        })
    }

    /// Ours, in whatever form.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Tidegate | TidegateProtobuf | Engine)
    }
}

/// What a server is to speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    /// permessage-deflate, where it has a choice.
    Deflate,
    /// Only our own program.
    Tls,
}

/// What all of them are started from, built or installed once.
pub(crate) struct Programs {
    pub(crate) tidegate: PathBuf,
    peers: Option<PathBuf>,
    node: Option<(PathBuf, PathBuf)>,
    nats: Option<PathBuf>,
}

impl Programs {
    /// What these contenders need, and our own program, which is the load too: `binary`, or one built as it is shipped.
    pub(crate) fn prepare(contenders: &[Contender], binary: Option<&str>) -> Result<Programs> {
        let any = |some: &[Contender]| contenders.iter().any(|contender| some.contains(contender));
        println!("building what is measured");
        let programs = Programs {
            tidegate: binary.map_or_else(tidegate, |file| Ok(file.into()))?,
            peers: (any(&RUST) || any(&[Engine]))
                .then(|| super::build("peers"))
                .transpose()?,
            node: any(&[Ws, Bun, SocketIo]).then(node).transpose()?,
            nats: any(&[Nats]).then(|| setup::ensure("nats")).transpose()?,
        };
        Ok(programs)
    }

    /// Starts one that speaks like that.
    pub(crate) fn start(
        &self,
        contender: Contender,
        workers: u16,
        speech: Speech,
    ) -> Result<Running> {
        let gone = "what the contender needs was not prepared";
        let mut command;
        match contender {
            Tidegate | TidegateProtobuf => {
                let config = tree::target().join("bench.toml");
                fs::write(&config, CONFIG)?;
                command = on_core(0, &self.tidegate, workers);
                command.args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--admin",
                    "off",
                    "--log",
                    "warn",
                ]);
                command
                    .args(["--workers", &workers.to_string(), "--config"])
                    .arg(config);
            }
            Ws | Bun | SocketIo => {
                let (node, folder) = self.node.as_ref().ok_or(gone)?;
                let bun = folder.join("node_modules/@oven/bun-linux-x64/bin/bun");
                command = on_core(0, if contender == Bun { &bun } else { node }, workers);
                command.arg(folder.join(format!("{}.js", contender.name())));
            }
            Nats => {
                let port = free_port()?;
                let path = tree::target().join("nats.conf");
                fs::write(&path, nats_config(port, free_port()?))?;
                command = on_core(0, self.nats.as_ref().ok_or(gone)?, workers);
                command
                    .arg("-c")
                    .arg(path)
                    .env("GOMAXPROCS", workers.to_string());
                return Running::awaited(command, contender.name(), port);
            }
            _ => {
                command = on_core(0, self.peers.as_ref().ok_or(gone)?, workers);
                command.args(["serve", contender.name()]);
            }
        }
        match speech {
            Speech::Plain => {}
            // Ours decides by the path.
            Speech::Deflate if matches!(contender, Tidegate | TidegateProtobuf) => {}
            Speech::Deflate => {
                command.arg("--deflate");
            }
            Speech::Tls => {
                command.arg("--dev-cert");
            }
        }
        Running::telling(command, contender.name())
    }
}

/// A command bound to one core when there are two to choose from; with several workers to as many.
pub(crate) fn on_core(core: usize, program: &std::path::Path, width: u16) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 || usize::from(width) >= cores {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// `tidegate` with the profile it is shipped with.
pub(super) fn tidegate() -> Result<PathBuf> {
    sh::must(
        Command::new(tree::cargo())
            .args([
                "build",
                "--quiet",
                "--profile",
                "dist",
                "-p",
                "tidegate-cli",
            ])
            .current_dir(tree::root()),
    )?;
    Ok(tree::target().join("dist/tidegate"))
}

/// Node.js, and the folder with the servers beside the packages they import.
fn node() -> Result<(PathBuf, PathBuf)> {
    let (node, folder) = (setup::ensure("node")?, setup::ensure("peers")?);
    for file in ["ws.js", "bun.js", "socket.io.js"] {
        fs::copy(
            tree::root().join("bench/peers/node").join(file),
            folder.join(file),
        )?;
    }
    Ok((node, folder))
}

fn nats_config(websocket: u16, plain: u16) -> String {
    format!(
        "listen: \"127.0.0.1:{plain}\"\nmax_connections: 200000\nmax_pending: 1073741824\nwrite_deadline: \"60s\"\n\
         websocket {{ listen: \"127.0.0.1:{websocket}\", no_tls: true, compression: false }}\n"
    )
}

/// What the server that was started last has remarked.
fn remarks() -> PathBuf {
    tree::target().join("bench-remarks.txt")
}

/// A server that listens.
pub(crate) struct Running {
    pub(crate) port: u16,
    child: Child,
    /// Closed, it ends those that were told no port.
    _stdin: Option<ChildStdin>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts one that prints its port or URL.
    pub(super) fn telling(mut command: Command, name: &str) -> Result<Running> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(remarks())?)
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut running = Running {
            port: 0,
            child,
            _stdin: stdin,
        };
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        while running.port == 0 {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                let remarks = fs::read_to_string(remarks()).unwrap_or_default();
                return Err(format!("{name} ended without a port: {}", remarks.trim()).into());
            }
            let number = line
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
            running.port = number.or_else(|| port_in(&line)).unwrap_or(0);
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || {
            let _ = lines.read_to_end(&mut Vec::new());
        });
        Ok(running)
    }

    /// Starts one that was told its port, and waits until it listens.
    pub(super) fn awaited(mut command: Command, name: &str, port: u16) -> Result<Running> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        let running = Running {
            port,
            child,
            _stdin: None,
        };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if start.elapsed() > START {
                return Err(format!("{name} does not listen").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A channel that only delivers, and tells no publisher, as those do that it is compared with; and no limit that a load
/// would meet.
pub(super) const CONFIG: &str = "\
[clients]
anonymous = true
ping = \"1h\"
pong = \"10s\"

[limits]
messages_per_second = 100000000
messages_burst = 100000000
bytes_per_second = \"3GiB\"
bytes_burst = \"3GiB\"
outbox = \"64MiB\"

[namespaces.bench]
subscribe = \"everyone\"
publish = \"everyone\"
publisher = false
";

const START: Duration = Duration::from_secs(20);
