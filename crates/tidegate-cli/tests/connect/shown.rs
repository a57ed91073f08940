//! What is shown: JSON for programs, the handshake and the frames for people, and never a secret.

use crate::support::{connect, echo, server, to_the_end};
use serde_json::Value;
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::{Acceptor, CloseCode, Message};

#[test]
fn json_is_one_object_a_line_for_all_that_happens() {
    let address = server(Acceptor::new().subprotocols(["v1"]), |_, opening| async {
        let mut ws = opening.accept().await.expect("accepted");
        ws.send("té\"xt").await.expect("sent");
        ws.send(Message::from(vec![0, 255])).await.expect("sent");
        ws.close(CloseCode::GOING_AWAY, "later").await;
    });
    let ended = connect(
        &[
            "--json",
            "-l",
            "-p",
            "v1",
            &format!("ws://u:hush@{address}/"),
        ],
        b"",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.text().contains("hush"));
    let events: Vec<Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<&str> = events.iter().filter_map(|e| e["event"].as_str()).collect();
    assert_eq!(names, ["open", "message", "message", "close"]);
    assert!(
        events
            .iter()
            .all(|e| e["schema"] == 1 && e["time_ms"].is_u64())
    );
    assert_eq!(
        (&events[0]["subprotocol"], &events[0]["status"]),
        (&"v1".into(), &101.into())
    );
    assert_eq!(
        (&events[1]["type"], &events[1]["text"]),
        (&"text".into(), &"té\"xt".into())
    );
    assert_eq!(events[2]["base64"], "AP8=");
    let close = &events[3];
    assert_eq!(
        (&close["code"], &close["reason"]),
        (&1001.into(), &"later".into())
    );
    assert_eq!(
        (&close["by"], &close["clean"]),
        (&"peer".into(), &true.into())
    );
}

#[test]
fn inspect_draws_handshake_and_frames_without_secrets() {
    let url = format!("ws://{}/?token=hush&room=1", echo());
    let flags = [
        "--inspect",
        "-1",
        "-m",
        "hello",
        "--bearer",
        "hush",
        "-H",
        "Cookie: sid=hush",
        &url,
    ];
    let ended = connect(&flags, b"");
    assert_eq!((ended.code, ended.text()), (Some(0), "hello\n"));
    let shown = &ended.stderr;
    assert!(!shown.contains("hush"), "{shown}");
    let mut at = 0;
    for part in [
        "→ GET /?token=…&room=1 HTTP/1.1",
        "→ Authorization: Bearer …",
        "← HTTP/1.1 101 ",
        "→ text    fin ---- mask       5 B  \"hello\"",
        "← text    fin ---- ----       5 B  \"hello\"",
        "→ close   fin ---- mask       2 B  1000",
        "← close   fin ---- ----       2 B  1000",
    ] {
        let found = shown[at..].find(part);
        at += found.unwrap_or_else(|| panic!("{part} is missing or out of order in\n{shown}"));
    }
}

#[test]
fn inspect_draws_both_heads_of_a_refusal_too() {
    let address = server(Acceptor::new(), |_, opening| async {
        let refusal = Refusal::new(403, "members only");
        opening.reject(&refusal).await;
    });
    let url = format!("ws://{address}/?token=hush");
    let flags = ["--inspect", "-1", "-m", "hello", "--bearer", "hush", &url];
    let shown = connect(&flags, b"").stderr;
    assert!(!shown.contains("hush"), "{shown}");
    let place = |part| shown.find(part).expect(part);
    let asked = place("→ GET /?token=… HTTP/1.1");
    assert!(asked < place("→ Authorization: Bearer …"));
    assert!(asked < place("← HTTP/1.1 403 "));
}

#[test]
fn binary_messages_can_be_dumped() {
    let address = server(Acceptor::new(), |_, opening| async {
        let mut ws = opening.accept().await.expect("accepted");
        ws.send(Message::from(b"dump\0me".to_vec()))
            .await
            .expect("sent");
        to_the_end(ws).await;
    });
    let ended = connect(
        &[
            "-l",
            "-1",
            "--show-binary",
            "hex",
            &format!("ws://{address}/"),
        ],
        b"",
    );
    let expected = "  00000000  64 75 6d 70 00 6d 65                              |dump.me|\n";
    assert_eq!((ended.code, ended.text()), (Some(0), expected));
}
