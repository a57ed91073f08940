//! At a terminal: a real pseudo-terminal, keys that are typed, and what is on the screen then.

use crate::support::{PATIENCE, back, command, server, to_the_end};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use tidegate::Acceptor;

/// The binary at a terminal of its own.
struct Terminal {
    keys: File,
    shown: mpsc::Receiver<Vec<u8>>,
    seen: String,
    child: Child,
    /// Keeps the terminal open, so that its settings can be looked at.
    screen: File,
}

impl Terminal {
    fn start(flags: &[&str]) -> Terminal {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&keys).expect("ours");
        unlockpt(&keys).expect("ours");
        let name = ptsname(&keys, Vec::new())
            .expect("a name")
            .into_string()
            .expect("UTF-8");
        let screen = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .expect("a terminal");
        let end = || screen.try_clone().expect("a descriptor");
        let child = command()
            .arg("connect")
            .args(flags)
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the binary starts");
        let keys = File::from(keys);
        let mut reader = keys.try_clone().expect("a descriptor");
        let (tell, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4 << 10];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if tell.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            keys,
            shown,
            seen: String::new(),
            child,
            screen,
        }
    }

    fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until `text` is on the screen, behind what was waited for before.
    fn until(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(octets) => self.seen.push_str(&String::from_utf8_lossy(&octets)),
                Err(_) => panic!("no {text:?} in {:?}", self.seen),
            }
        }
    }

    /// Waits for the process's end; its exit code, and the rest of what was shown.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("a child");
        let local = tcgetattr(&self.screen).expect("a terminal").local_modes;
        assert!(
            local.contains(LocalModes::ICANON | LocalModes::ECHO),
            "the terminal is left as it was"
        );
        drop(self.screen); // then reading ends
        while let Ok(octets) = self.shown.recv() {
            self.seen.push_str(&String::from_utf8_lossy(&octets));
        }
        (status.code(), self.seen)
    }
}

fn echo() -> String {
    let address = server(Acceptor::new(), |_, opening| async {
        back(opening.accept().await.expect("accepted")).await;
    });
    format!("ws://{address}/")
}

#[test]
fn lines_are_sent_and_answers_stand_above_the_prompt() {
    let mut terminal = Terminal::start(&[&echo()]);
    terminal.until("connected to ws://");
    terminal.until("> ");
    terminal.type_keys("hello");
    terminal.until("hello");
    terminal.type_keys("\r");
    terminal.until("< hello");
    terminal.until("> ");
    terminal.type_keys("//slash\r");
    terminal.until("< /slash");
    terminal.type_keys("/hex 00ff\r");
    terminal.until("< 2 bytes");
    terminal.until("00000000  00 ff");
    terminal.type_keys("/ping\r");
    terminal.until("pong after ");
    terminal.type_keys("/nonsense\r");
    terminal.until("no command /nonsense");
    terminal.type_keys("/help\r");
    terminal.until("/file PATH");
    terminal.type_keys("/close 4000 enough\r");
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("closed: 4000"), "{seen}");
}

#[test]
fn a_line_can_be_edited_while_messages_come() {
    let address = server(Acceptor::new(), |_, opening| async {
        let (sender, mut receiver) = opening.accept().await.expect("accepted").split();
        let first = receiver.recv().await.expect("a line");
        sender.send("an interruption").await.expect("sent");
        let second = receiver.recv().await.expect("a line");
        sender
            .send(format!(
                "{first:?} and {}",
                second.as_text().unwrap_or_default()
            ))
            .await
            .expect("sent");
        let _ = receiver.recv().await;
    });
    let mut terminal = Terminal::start(&[&format!("ws://{address}/")]);
    terminal.until("> ");
    terminal.type_keys("one\r");
    // Half a line is typed; the message comes above it, and the half line is drawn again below.
    terminal.type_keys("half");
    terminal.until("< an interruption");
    terminal.type_keys(" a linx\x7fe\r");
    terminal.until("and half a line");
    terminal.type_keys("\x04");
    assert_eq!(terminal.end().0, Some(0), "Ctrl-D closes");
}

#[test]
fn a_server_cannot_act_on_the_terminal_and_its_close_ends_the_prompt() {
    let address = server(Acceptor::new(), |_, opening| async {
        let mut ws = opening.accept().await.expect("accepted");
        ws.send("\x1b]0;owned\x07\x1b[2J").await.expect("sent");
        ws.recv().await.expect("a line");
        ws.send("last words").await.expect("sent");
        ws.close(tidegate::CloseCode::NORMAL, "that's \x1b[31mall")
            .await;
    });
    let mut terminal = Terminal::start(&[&format!("ws://{address}/")]);
    terminal.until("< \\u{1b}]0;owned\\u{7}\\u{1b}[2J");
    terminal.until("> ");
    terminal.type_keys("bye\r");
    terminal.until("< last words");
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(
        seen.contains("closed: 1000 by the server (that's \\u{1b}[31mall)"),
        "{seen:?}"
    );
    assert!(!seen.contains("\x1b[31m"), "{seen:?}");
}

#[test]
fn ctrl_c_closes_and_says_so_in_the_exit_code() {
    let address = server(Acceptor::new(), |_, opening| async {
        to_the_end(opening.accept().await.expect("accepted")).await;
    });
    let mut terminal = Terminal::start(&[&format!("ws://{address}/")]);
    terminal.until("> ");
    terminal.type_keys("\x03");
    assert_eq!(terminal.end().0, Some(130));
}

#[test]
fn piped_input_at_a_terminal_screen_has_no_prompt() {
    let mut terminal = Terminal::start(&["-1", "-m", "colour \x1b[31m", &echo()]);
    terminal.until("colour \\u{1b}[31m");
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0));
    assert!(!seen.contains("> "), "{seen:?}");
}
