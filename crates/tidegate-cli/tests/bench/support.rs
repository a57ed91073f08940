//! What the tests need: servers that follow a script, `tidegate serve` as a process, and `tidegate bench` run to its end.

use serde_json::Value;
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tidegate::{Acceptor, Config, Limits, WebSocket};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Hands each connection to `serve`, with its number from 0 on, until the test's process ends.
pub(crate) fn sockets<F>(serve: F) -> SocketAddr
where
    F: AsyncFn(usize, TcpStream) + Send + 'static,
{
    let (tell, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let serve = std::rc::Rc::new(serve);
        let accept = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = listener.local_addr().expect("an address");
            tell.send(at).expect("the test waits");
            for n in 0.. {
                let (tcp, _) = listener.accept().await.expect("a connection");
                let serve = serve.clone();
                spawn_local(async move { serve(n, tcp).await });
            }
        };
        runtime.block_on(LocalSet::new().run_until(accept));
    });
    address.recv().expect("it listens")
}

/// Hands each WebSocket to `serve` until the test's process ends.
pub(crate) fn websockets<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(WebSocket<TcpStream>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let config = Config {
        limits: Limits::large(),
        ..Config::default()
    };
    let acceptor = Acceptor::new().config(config);
    sockets(async move |_, tcp| {
        // The load looks whether anybody is there before it begins.
        if let Ok(opening) = acceptor.receive(tcp).await {
            if let Ok(ws) = opening.accept().await {
                serve(ws).await;
            }
        }
    })
}

/// `tidegate serve`, until it is dropped.
pub(crate) struct Served {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) at: String,
}

impl Served {
    pub(crate) fn start(flags: &[&str]) -> Served {
        let mut child = command()
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "off",
                "--workers",
                "1",
            ])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says where");
        let (_, url) = line.trim().split_once("://").expect("a URL");
        let at = url.trim_end_matches('/').to_owned();
        Served { child, at }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The document on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It failed with this code and says so in one line that holds `said`.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, said: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("tidegate: "), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(said), "{said}: {self:?}");
    }
}

/// Runs `tidegate bench` to its end.
pub(crate) fn bench(words: &[&str]) -> Ended {
    end(spawn(words))
}

/// Starts `tidegate bench`.
pub(crate) fn spawn(words: &[&str]) -> Child {
    command()
        .arg("bench")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Waits for the process's end; one that does not end fails the test.
pub(crate) fn end(mut child: Child) -> Ended {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_string(&mut text).expect("text");
            }
            text
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("a child");
            panic!("it still runs after {PATIENCE:?}: {:?}", stderr.join());
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ended {
        code: status.code(),
        stdout: stdout.join().expect("read"),
        stderr: stderr.join().expect("read"),
    }
}

/// The binary, without settings from the environment of whoever runs the tests.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEGATE_") {
            command.env_remove(name);
        }
    }
    command
}
