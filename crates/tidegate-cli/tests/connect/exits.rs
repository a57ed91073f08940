//! How it ends: an exit code for scripts and one line for people, for each thing that can go wrong.

use crate::support::{Ended, connect, echo, end, server, sockets, spawn, to_the_end};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use tidegate::tidegate_proto::handshake::{Refusal, key};
use tidegate::{Acceptor, CloseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn failed(ended: &Ended, code: i32, said: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stderr.starts_with("tidegate: "), "{}", ended.stderr);
    assert_eq!(
        ended.stderr.lines().count(),
        1,
        "one line: {}",
        ended.stderr
    );
    assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
}

#[test]
fn what_cannot_be_asked_is_a_usage_error() {
    failed(&connect(&["ftp://a/"], b""), 2, "ws://");
    failed(&connect(&["a:b@c/"], b""), 2, "ws://…@c/");
    failed(
        &connect(&["ws://a/", "-H", "nonsense"], b""),
        2,
        "Name: value",
    );
    failed(
        &connect(&["ws://127.0.0.1:1/", "-H", "Upgrade: h2c"], b""),
        2,
        "could not connect",
    );
    failed(
        &connect(&["--close-code", "1006", "ws://a/"], b""),
        2,
        "--close-code 1006",
    );
    failed(&connect(&[], b""), 2, "tidegate connect --help");
}

#[test]
fn nobody_there_and_a_refusal_are_no_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    failed(&connect(&[&url], b""), 3, "the TCP connection failed");

    let address = server(Acceptor::new(), |_, opening| async move {
        opening
            .reject(&Refusal::new(403, "members only\x1b[2J"))
            .await;
    });
    let ended = connect(&[&format!("ws://{address}/")], b"");
    failed(&ended, 3, "status 403: members only");
    assert!(!ended.stderr.contains('\x1b'), "{}", ended.stderr);
}

#[test]
fn who_breaks_the_protocol_is_told_apart() {
    let wrong = sockets(async |_, mut tcp| {
        let mut request = [0; 4 << 10];
        let _ = tcp.read(&mut request).await;
        let head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let _ = tcp.write_all(head.as_bytes()).await;
        let _ = tcp.read(&mut request).await;
    });
    failed(
        &connect(&[&format!("ws://{wrong}/")], b""),
        4,
        "could not connect",
    );

    let reserved = sockets(async |_, mut tcp| {
        let mut request = [0; 4 << 10];
        let n = tcp.read(&mut request).await.expect("a request");
        let request = String::from_utf8_lossy(&request[..n]).into_owned();
        let name = "Sec-WebSocket-Key: ";
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a key");
        let accept = key::accept_for(key.as_bytes());
        let accept = std::str::from_utf8(&accept).expect("ASCII");
        let answer = format!(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n\u{3}\0"
        );
        let _ = tcp.write_all(answer.as_bytes()).await;
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
    });
    failed(
        &connect(&["-l", &format!("ws://{reserved}/")], b""),
        4,
        "the server broke the protocol",
    );
}

#[test]
fn a_close_with_an_error_and_a_break_have_failed() {
    let address = server(Acceptor::new(), |_, opening| async move {
        let path = opening.request().path().to_owned();
        let mut ws = opening.accept().await.expect("accepted");
        match &*path {
            "/error" => drop(ws.close(CloseCode::INTERNAL, "no idea").await),
            "/fine" => drop(ws.close(CloseCode::GOING_AWAY, "").await),
            "/short" => {
                ws.send("one").await.expect("sent");
                ws.close(CloseCode::NORMAL, "").await;
            }
            _ => ws.abort(),
        }
    });
    let run = |path: &str| connect(&["-l", &format!("ws://{address}{path}")], b"");
    failed(&run("/error"), 1, "1011 by the server (no idea)");
    failed(&run("/break"), 1, "the connection broke");
    assert_eq!(run("/fine").code, Some(0));
    let ended = connect(&["-n", "2", "-l", &format!("ws://{address}/short")], b"");
    failed(&ended, 1, "closed after 1 messages");
    assert_eq!(ended.text(), "one\n");
}

#[test]
fn a_broken_input_is_named() {
    let url = format!("ws://{}/", echo());
    failed(
        &connect(&[&url], b"fine\n\xff\n"),
        1,
        "line 2 of the input is no UTF-8",
    );
    failed(
        &connect(&["-f", "/no/such/file", &url], b""),
        1,
        "/no/such/file cannot be read",
    );
}

#[test]
fn time_is_bounded_while_connecting_and_afterwards() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/", silent.local_addr().expect("an address"));
    failed(
        &connect(&["--connect-timeout", "0.2", &url], b""),
        3,
        "took too long",
    );
    failed(&connect(&["--timeout", "0.2", &url], b""), 124, "--timeout");
    let url = format!("ws://{}/", echo());
    failed(
        &connect(&["--timeout", "0.2", "-l", &url], b""),
        124,
        "not done after 0.2 s",
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_closes_politely() {
    let (tell, told) = std::sync::mpsc::channel();
    let address = server(Acceptor::new(), move |_, opening| {
        let tell = tell.clone();
        async move {
            let mut ws = opening.accept().await.expect("accepted");
            ws.send("here").await.expect("sent");
            let closed = ws.recv().await.expect_err("no message");
            tell.send(closed).expect("the test waits");
        }
    });
    let mut child = spawn(&["-l", "--close-code", "4001", &format!("ws://{address}/")]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut String::new()).expect("a line");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = end(child);
    assert_eq!((ended.code, &*ended.stderr), (Some(130), ""));
    let closed = told.recv().expect("a close");
    assert!(
        closed.clean && closed.code.is_some_and(|code| code.get() == 4001),
        "{closed:?}"
    );
}

#[test]
fn a_server_that_never_closes_cannot_keep_it() {
    let address = server(Acceptor::new(), |_, opening| async {
        let ws = opening.accept().await.expect("accepted");
        // It reads nothing, so it never sees our Close.
        std::future::pending::<()>().await;
        to_the_end(ws).await;
    });
    let ended = connect(&["-w", "0", "-m", "bye", &format!("ws://{address}/")], b"");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
