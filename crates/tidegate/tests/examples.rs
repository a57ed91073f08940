//! The examples of `examples/`, as the programs they are: each is run, and what it prints is read. Those that need
//! no other end of ours run by themselves; `tests_with_clock` is a test, and the conformance runs start `peer` and
//! `autobahn`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tidegate::{CloseCode, Message};
use tokio::net::TcpListener;

/// An example that runs; it is ended with the test.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(name: &str, words: &[&str]) -> Running {
        let program = program(name);
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os() {
            if name
                .to_string_lossy()
                .to_ascii_lowercase()
                .ends_with("_proxy")
            {
                command.env_remove(name);
            }
        }
        let child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|why| {
            let how = "cargo build -p tidegate --examples";
            panic!("{}: {why}; {how}", program.display())
        });
        Running {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    /// The next line it prints.
    fn line(&mut self) -> String {
        self.stdout.next().expect("it has ended").unwrap()
    }

    /// The URL on the first line that it prints.
    fn url(&mut self) -> String {
        let line = self.line();
        let (_, url) = line.split_once(" at ").expect("it says where it listens");
        url.to_owned()
    }

    /// What it prints until it ends, well.
    fn rest(mut self) -> Vec<String> {
        let rest = self.stdout.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "{rest:?}");
        rest
    }
}

/// cargo puts the examples beside the folder of the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    folder
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

#[test]
fn the_client_talks_with_both_echoes() {
    for echo in ["echo", "echo_async"] {
        let mut server = Running::start(echo, &["127.0.0.1:0"]);
        let url = server.url();
        let said = Running::start("client", &[&url, "hello", "world"]).rest();
        assert_eq!(said, ["hello", "world", "closed, clean: true"], "{echo}");
    }
}

#[test]
fn one_port_takes_both_http_versions() {
    let said = Running::start("h2", &[]).rest();
    assert_eq!(
        said,
        ["Http1, status 101: hello", "Http2, status 200: hello"]
    );
}

#[test]
fn a_file_arrives_as_it_was() {
    let folder = std::env::temp_dir().join(format!("tidegate-examples-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (from, to) = (folder.join("from"), folder.join("to"));
    // Longer than any buffer, and than the longest message that is taken whole.
    let octets: Vec<u8> = (0..3_000_001_u32).map(|n| (n * 31 % 251) as u8).collect();
    std::fs::write(&from, &octets).unwrap();
    let mut receiver = Running::start("file", &["receive", to.to_str().unwrap(), "127.0.0.1:0"]);
    let url = receiver.url();
    let sent = Running::start("file", &["send", from.to_str().unwrap(), &url]).rest();
    let received = receiver.rest();
    assert!(sent[0].starts_with("3000001 bytes; "), "{sent:?}");
    assert!(received[0].starts_with("3000001 bytes; "), "{received:?}");
    assert!(std::fs::read(&to).unwrap() == octets);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn everyone_in_the_room_hears_what_is_said_and_all_are_sent_home() {
    let mut chat = Running::start("chat_axum", &["127.0.0.1:0"]);
    let url = chat.url();
    let mut one = tidegate::connect(&url).await.unwrap();
    // Who is answered is in the room.
    one.send("first").await.unwrap();
    assert_eq!(one.recv().await.unwrap(), Message::from("first"));
    let mut two = tidegate::connect(&url).await.unwrap();
    two.send("second").await.unwrap();
    for ws in [&mut one, &mut two] {
        assert_eq!(ws.recv().await.unwrap(), Message::from("second"));
    }
    chat.stdin.take().unwrap().write_all(b"\n").unwrap();
    let (one, two) = tokio::join!(one.recv(), two.recv());
    for closed in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!(
            (closed.code, closed.clean),
            (Some(CloseCode::RESTART), true)
        );
    }
    assert_eq!(chat.rest(), ["closing 2 connections"]);
}

#[tokio::test]
async fn a_client_that_is_cut_off_comes_back_and_asks_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut client = Running::start("client_reconnect", &[&url, "subscribe"]);
    for news in ["one", "two", "three"] {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut ws = tidegate::accept(tcp).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Message::from("subscribe"));
        ws.send(news).await.unwrap();
        ws.flush().await.unwrap();
        assert_eq!(client.line(), news);
        // Dropped without a Close.
    }
}
