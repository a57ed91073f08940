//! In a pipe: what goes in comes out at the other end, whole, and the process ends when it should.

use crate::support::{back, connect, echo, end, server, spawn, to_the_end};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc;
use tidegate::{Acceptor, CloseCode, Message};

#[test]
fn a_line_is_sent_and_the_answer_printed() {
    let ended = connect(&[&format!("ws://{}/", echo())], b"hi\n");
    assert_eq!(
        (ended.code, ended.text(), &*ended.stderr),
        (Some(0), "hi\n", "")
    );
}

#[test]
fn lines_are_messages_and_their_order_is_kept() {
    let (seen, messages) = mpsc::channel();
    let address = server(Acceptor::new(), move |_, opening| {
        let seen = seen.clone();
        async move {
            let mut ws = opening.accept().await.expect("accepted");
            while let Ok(message) = ws.recv().await {
                seen.send(message.as_text().map(str::to_owned))
                    .expect("the test");
            }
            drop(seen);
        }
    });
    let url = format!("http://{address}/");
    let ended = connect(&["-w", "0", &url], "a\r\n\n  b\nü".as_bytes());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let texts: Vec<_> = messages.iter().take(4).collect();
    let expected = ["a", "", "  b", "ü"].map(|text| Some(text.to_owned()));
    assert_eq!(texts, expected);
}

#[test]
fn much_goes_both_ways_at_once_through_an_echo_that_takes_nothing_while_it_gives() {
    let lines: String = (0..20_000)
        .map(|n| format!("{n} {}\n", "x".repeat(n % 400)))
        .collect();
    let count = "20000";
    let url = format!("ws://{}/", echo());
    for flags in [&["-n", count, &url][..], &["-n", count, "--deflate", &url]] {
        let ended = connect(flags, lines.as_bytes());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.text() == lines,
            "{} of {} bytes",
            ended.stdout.len(),
            lines.len()
        );
    }
}

#[test]
fn octets_come_back_as_they_went() {
    let octets: Vec<u8> = (0..3_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let url = format!("ws://{}/", echo());
    let ended = connect(&["--binary", &url], &octets);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout == octets);
    let ended = connect(
        &["-1", "-f", "-", "--show-binary", "base64", &url],
        b"\x00\xff",
    );
    assert_eq!(ended.text(), "AP8=\n", "what is no UTF-8 is binary");
}

#[test]
fn one_answer_is_waited_for_however_long_the_input_has_ended() {
    let address = server(Acceptor::new(), |_, opening| async {
        let mut ws = opening.accept().await.expect("accepted");
        let question = ws.recv().await.expect("a question");
        // The client has nothing more to send, and no reason to wait but that it was told to.
        assert!(ws.ping().await.is_ok() && ws.ping().await.is_ok());
        ws.send(question).await.expect("sent");
        to_the_end(ws).await;
    });
    let url = format!("ws://{address}/");
    let ended = connect(&["-1", "--wait", "0", "-m", "really?", &url], b"");
    assert_eq!((ended.code, ended.text()), (Some(0), "really?\n"));
}

#[test]
fn texts_and_files_are_sent_in_order_and_stdin_is_left_alone() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let url = format!("ws://{}/", echo());
    let ended = connect(
        &["-m", "a", "-m", "b", "-f", file, "-n", "3", &url],
        b"not this\n",
    );
    let expected = format!("a\nb\n{}\n", std::fs::read_to_string(file).expect("a file"));
    assert_eq!((ended.code, ended.text()), (Some(0), &*expected));
}

#[test]
fn what_comes_is_printed_when_it_comes_not_when_a_buffer_is_full() {
    let address = server(Acceptor::new(), |_, opening| async {
        let mut ws = opening.accept().await.expect("accepted");
        ws.send("first").await.expect("sent");
        to_the_end(ws).await;
    });
    let mut child = spawn(&[&format!("ws://{address}/")]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout
        .read_line(&mut line)
        .expect("a line, though the input has not ended");
    assert_eq!(line, "first\n");
    drop(child.stdin.take());
    assert_eq!(end(child).code, Some(0));
}

#[test]
fn who_stops_reading_ends_it_without_a_word() {
    let address = server(Acceptor::new(), |_, opening| async {
        let mut ws = opening.accept().await.expect("accepted");
        while ws.send("more and more").await.is_ok() {}
    });
    let mut child = spawn(&["--listen", &format!("ws://{address}/")]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut String::new()).expect("a line");
    drop(stdout);
    let ended = end(child);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
}

#[test]
fn a_broken_connection_is_made_anew_and_what_was_unsent_is_sent_again() {
    let address = server(Acceptor::new(), |n, opening| async move {
        let mut ws = opening.accept().await.expect("accepted");
        if n == 0 {
            let first = ws.recv().await.expect("a line");
            ws.send(first).await.expect("sent");
            return; // without a Close
        }
        back(ws).await;
    });
    let mut child = spawn(&["--reconnect", "-n", "2", "-v", &format!("ws://{address}/")]);
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (mut line, mut remarks) = (String::new(), String::new());
    stdin.write_all(b"one\n").expect("a pipe");
    stdout.read_line(&mut line).expect("a line");
    // What is written to a connection whose end nobody has seen yet is lost, and nobody can know.
    while !remarks.contains("trying again in") {
        assert_ne!(
            stderr.read_line(&mut remarks).expect("text"),
            0,
            "{remarks}"
        );
    }
    stdin.write_all(b"two\n").expect("a pipe");
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "one\ntwo\n");
    stderr.read_to_string(&mut remarks).expect("text");
    assert_eq!(end(child).code, Some(0));
    assert_eq!(
        remarks.matches("connected to ws://").count(),
        2,
        "{remarks}"
    );
}

#[test]
fn a_server_that_is_done_is_not_asked_again() {
    let address = server(Acceptor::new(), |n, opening| async move {
        assert_eq!(n, 0, "once is enough");
        let mut ws = opening.accept().await.expect("accepted");
        ws.send(Message::from("all")).await.expect("sent");
        ws.close(CloseCode::NORMAL, "").await;
    });
    let ended = connect(&["--reconnect", "-l", &format!("ws://{address}/")], b"");
    assert_eq!((ended.code, ended.text()), (Some(0), "all\n"));
}
