//! What the tests need: servers that follow a script, and the binary as a process.

use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tidegate::server::Opening;
use tidegate::{Acceptor, Config, Limits, WebSocket};
use tidegate_proto::Deflate;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Whatever takes longer has failed; nothing here should take a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Hands each handshake to `serve`, with its number from 0 on, until the test's process ends.
pub(crate) fn server<F, Fut>(acceptor: Acceptor, serve: F) -> SocketAddr
where
    F: Fn(usize, Opening<TcpStream>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    sockets(async move |n, tcp| {
        if let Ok(opening) = acceptor.receive(tcp).await {
            serve(n, opening).await;
        }
    })
}

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
            tell.send(listener.local_addr().expect("an address"))
                .expect("the test waits");
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

/// An echo that takes long messages, and compression if it is offered.
pub(crate) fn echo() -> SocketAddr {
    let config = Config {
        limits: Limits::large(),
        deflate: Deflate::Shared.into(),
        ..Config::default()
    };
    server(Acceptor::new().config(config), |_, opening| async {
        back(opening.accept().await.expect("accepted")).await;
    })
}

/// Sends back what comes.
pub(crate) async fn back<S>(mut ws: WebSocket<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Ok(message) = ws.recv().await {
        if ws.send(message).await.is_err() {
            return;
        }
    }
}

/// Waits for the end, whatever comes before.
pub(crate) async fn to_the_end<S>(mut ws: WebSocket<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while ws.recv().await.is_ok() {}
}

/// How the process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("UTF-8 on stdout")
    }
}

/// Runs `tidegate connect` to its end, with `input` on stdin.
pub(crate) fn connect(flags: &[&str], input: &[u8]) -> Ended {
    let mut child = spawn(flags);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It need not read all.
    let feed = thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = end(child);
    feed.join().expect("fed");
    ended
}

/// Starts `tidegate connect`.
pub(crate) fn spawn(flags: &[&str]) -> Child {
    command()
        .arg("connect")
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Waits for the process's end; one that does not end fails the test.
pub(crate) fn end(mut child: Child) -> Ended {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut octets = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut octets).expect("a pipe");
            }
            octets
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
    let stderr = stderr.join().expect("read");
    Ended {
        code: status.code(),
        stdout: stdout.join().expect("read"),
        stderr: String::from_utf8(stderr).expect("UTF-8 on stderr"),
    }
}

/// The binary, without settings from the environment of whoever runs the tests.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_ascii_lowercase();
        if lower.starts_with("tidegate_") || lower.ends_with("_proxy") || lower.contains("color") {
            command.env_remove(name);
        }
    }
    command
}

/// What a run of [`Command::output`] printed, for messages of asserts.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
