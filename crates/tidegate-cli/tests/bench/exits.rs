//! How it ends against a server that refuses, stalls, dies, breaks the protocol or changes what it sends back.

use crate::support::{Served, bench, end, sockets, spawn, websockets};
use std::net::TcpListener;
use std::sync::mpsc;
use tidegate::tidegate_proto::handshake::key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOADS: [&str; 5] = ["echo", "fanout", "handshake", "idle", "flood"];

#[test]
fn what_cannot_be_asked_is_a_usage_error() {
    for mode in LOADS {
        bench(&[mode, "ftp://a/"]).failed(2, "ws://");
        bench(&[mode, "ws://192.0.2.1/"]).failed(2, "--i-am-authorized");
    }
    let server = Served::start(&[]);
    let url = format!("ws://{}/echo", server.at);
    bench(&["fanout", "-s", "15", &url]).failed(2, "--size 15");
    bench(&["echo", "-s", "67108864", "--depth", "10", &url]).failed(2, "under way");
    bench(&["echo", "--server-pid", "4000000000", &url]).failed(2, "no such process");
    bench(&["echo", "-H", "nonsense", &url]).failed(2, "Name: value");
    bench(&["echo", "-H", "Upgrade: x", &url]).failed(2, "handshake");
    bench(&["echo", "--nothing", &url]).failed(2, "tidegate bench --help");
}

#[test]
fn nobody_there_and_a_refusal_are_no_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("ws://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    let server = Served::start(&[]);
    let refuses = format!("ws://{}/no/such/place", server.at);
    let hangs_up = sockets(async |_, _| {});
    let hangs_up = format!("ws://{hangs_up}/");
    for mode in LOADS {
        bench(&[mode, &nobody]).failed(3, "could not connect");
        bench(&[mode, "-c", "3", &refuses]).failed(3, "status 404");
        let ended = bench(&[mode, "-c", "3", &hangs_up]);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(3), ""),
            "{mode}: {ended:?}"
        );
    }
}

#[test]
fn a_server_that_stalls_in_the_handshake_is_not_waited_for() {
    let listens = TcpListener::bind("127.0.0.1:0").expect("a port");
    let never_accepts = format!("ws://{}/", listens.local_addr().expect("an address"));
    let half = sockets(async |_, mut tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 101 Switching").await;
        std::future::pending::<()>().await;
    });
    let half = format!("ws://{half}/");
    for url in [&never_accepts, &half] {
        for mode in LOADS {
            bench(&[mode, "-c", "3", "--timeout", "0.3", url]).failed(124, "silent for 0.3 s");
        }
    }
    // It says something now and then, and never comes to an end.
    let drips = sockets(async |_, mut tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
        while tcp.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let url = format!("ws://{drips}/");
    let words = ["echo", "-c", "2", "--connect-timeout", "0.5", &url];
    bench(&words).failed(124, "--connect-timeout");
}

#[test]
fn a_server_that_dies_or_stalls_in_the_middle_is_told_with_what_was_measured() {
    let dies = websockets(|mut ws| async move {
        for _ in 0..20 {
            let Ok(message) = ws.recv().await else { return };
            let _ = ws.send(message).await;
        }
        ws.abort();
    });
    let url = format!("ws://{dies}/");
    let ended = bench(&["echo", "-c", "3", "-w", "0", "-d", "60", "--json", &url]);
    ended.failed(4, "all connections are lost");
    let json = ended.json();
    assert_eq!((&json["exit"], &json["errors"]), (&4.into(), &3.into()));
    assert!(json["messages"].as_u64() <= Some(60), "{json}");

    let stalls = websockets(|mut ws| async move {
        for _ in 0..20 {
            let Ok(message) = ws.recv().await else { return };
            let _ = ws.send(message).await;
        }
        std::future::pending::<()>().await;
    });
    let url = format!("ws://{stalls}/");
    let words = [
        "-c",
        "3",
        "-w",
        "0",
        "-d",
        "60",
        "--json",
        "--timeout",
        "0.5",
    ];
    let ended = bench(&[&["echo"], &words[..], &[&url]].concat());
    ended.failed(124, "silent for 0.5 s");
    let json = ended.json();
    assert_eq!(
        (&json["messages"], &json["lost"]),
        (&60.into(), &3.into()),
        "{json}"
    );
    let ended = bench(&[&["flood"], &words[..], &[&url]].concat());
    ended.failed(124, "silent for 0.5 s");
}

#[test]
fn who_breaks_the_protocol_or_changes_messages_is_told_apart() {
    let reserved = sockets(async |_, mut tcp| {
        if accept_by_hand(&mut tcp).await.is_some() {
            let _ = tcp.write_all(b"\x83\x00").await;
            let mut rest = Vec::new();
            let _ = tcp.read_to_end(&mut rest).await;
        }
    });
    let url = format!("ws://{reserved}/");
    bench(&["echo", "-c", "2", &url]).failed(4, "broke the protocol");

    let no_http = sockets(async |_, mut tcp| {
        let _ = tcp.write_all(b"SSH-2.0-x\r\n").await;
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
    });
    let url = format!("ws://{no_http}/");
    bench(&["echo", "-c", "2", &url]).failed(4, "not HTTP");

    let changes = websockets(|mut ws| async move {
        while let Ok(message) = ws.recv().await {
            let mut octets = message.as_bytes().to_vec();
            octets[20] ^= 1;
            let text = String::from_utf8(octets).expect("ASCII");
            if ws.send(text).await.is_err() {
                return;
            }
        }
    });
    let url = format!("ws://{changes}/");
    let ended = bench(&["echo", "-c", "1", "-d", "0.2", "-w", "0", "--json", &url]);
    ended.failed(4, "errors");
    assert!(ended.json()["errors"].as_u64() > Some(0));
}

/// The server's side of the opening handshake, by hand.
async fn accept_by_hand(tcp: &mut TcpStream) -> Option<()> {
    let mut request = [0; 4 << 10];
    let n = tcp.read(&mut request).await.ok()?;
    let request = String::from_utf8_lossy(&request[..n]).into_owned();
    let name = "Sec-WebSocket-Key: ";
    let key = request.lines().find_map(|line| line.strip_prefix(name))?;
    let accept = key::accept_for(key.as_bytes());
    let accept = std::str::from_utf8(&accept).expect("ASCII");
    let answer = format!(
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    tcp.write_all(answer.as_bytes()).await.ok()
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_and_shows_what_there_is() {
    let (tell, told) = mpsc::channel();
    let address = websockets(move |mut ws| {
        let tell = tell.clone();
        async move {
            while let Ok(message) = ws.recv().await {
                let _ = tell.send(());
                if ws.send(message).await.is_err() {
                    return;
                }
            }
        }
    });
    let url = format!("ws://{address}/");
    let child = spawn(&["echo", "-c", "1", "-w", "0", "-d", "600", "--json", &url]);
    told.recv().expect("a message");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = end(child);
    ended.failed(130, "interrupted");
    assert_eq!(ended.json()["outcome"], "interrupted");
}
