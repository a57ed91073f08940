//! The server, in a process of its own so that its memory is nobody else's: this test program, started once more.
//! It echoes long messages part by part and never waits for more than the next part.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{
    Accept, CloseCode, Closed, Config, Deflate, Handler, Incoming, Opening, Outboxes, Part, PeerId,
    Request, Streaming,
};

/// Set for the other process, so that whoever runs all ignored tests does not wait for a server to end.
const WANTED: &str = "TIDEGATE_TEST_SERVER";
/// Says where the server listens.
const LISTENS: &str = "listening on ";

/// The server's process; it ends when this one is dropped, for its standard input ends then.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
    /// Held, for the harness around it says a word when it ends.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Server {
    pub(crate) fn start() -> Server {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--exact", "the_servers_process", "--ignored", "--nocapture"])
            .env(WANTED, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let addr = said
            .by_ref()
            .find_map(|line| line.expect("text").split_once(LISTENS)?.1.parse().ok())
            .expect("the server says where it listens");
        Server {
            child,
            addr,
            _said: said,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Most memory that was ever resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Memory that is resident now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("Linux tells it") * 1024
    }

    /// Processor time that all of its threads have used.
    pub(crate) fn processor_time(&self) -> Duration {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(folder).expect("the server lives");
        let used = threads.map(|thread| {
            let file = thread.expect("a thread").path().join("schedstat");
            let text = fs::read_to_string(file).expect("Linux counts nanoseconds");
            let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
            Duration::from_nanos(nanoseconds.expect("a number"))
        });
        used.sum()
    }

    fn read(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(path).expect("the server lives")
    }

    /// It must end well, which it does only if no worker died.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it was started").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process: serves until its standard input ends.
pub(crate) fn serve() {
    if std::env::var_os(WANTED).is_none() {
        return;
    }
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let server = tidegate::Server::builder().listen(loopback).workers(1);
    let running = server.start(|_| Echo::default()).expect("a free port");
    println!("{LISTENS}{}", running.local_addr());
    std::io::stdout().flush().expect("somebody reads it");
    let waited = std::io::stdin().read_to_end(&mut Vec::new());
    waited.expect("a pipe or nothing");
    running.drain(Duration::ZERO);
    running.join().expect("no worker died");
}

/// Echoes, long messages part by part, compressed where that was agreed. With `/whole` messages come whole, up to a
/// GiB; with `/lenient` too, up to a MiB, and only that bounds how far they inflate.
struct Echo {
    streaming: Arc<Config>,
    whole: Arc<Config>,
    lenient: Arc<Config>,
}

impl Default for Echo {
    fn default() -> Echo {
        let config = Config {
            deflate: Deflate::Shared.into(),
            ..Config::default()
        };
        let mut whole = config.clone();
        whole.limits.max_message_size = 1 << 30;
        let mut lenient = config.clone();
        lenient.deflate.max_ratio = u32::MAX;
        Echo {
            streaming: Arc::new(config),
            whole: Arc::new(whole),
            lenient: Arc::new(lenient),
        }
    }
}

impl Handler for Echo {
    type Mail = ();

    fn open(&mut self, _: PeerId, request: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        Opening::Accept(match request.path() {
            "/whole" => Accept::new(self.whole.clone()),
            "/lenient" => Accept::new(self.lenient.clone()),
            _ => Accept {
                streaming: Some(Streaming::from(64 << 10)),
                ..Accept::new(self.streaming.clone())
            },
        })
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        out.send_incoming(peer, message);
    }

    fn part(&mut self, peer: PeerId, part: Part<'_>, out: &mut Outboxes<'_, ()>) {
        if part.first {
            out.begin(peer, part.kind).expect("one message at a time");
        }
        out.part(peer, part.bytes).expect("it was begun");
        if part.last {
            out.finish(peer).expect("it was begun");
            out.close(peer, CloseCode::NORMAL, "that was all");
        }
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, _: PeerId, _: &Closed, _: &mut Outboxes<'_, ()>) {}
}
