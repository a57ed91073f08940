//! Where messages to be sent come from: the command line, files, a pipe, or a person at the prompt. It reads on a
//! thread of its own, a few messages ahead at most, and knows no connection.

use super::command::{self, Typed};
use super::console::{Console, Editor, Line};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::thread;
use tidegate::Message;
use tidegate_proto::CloseCode;
use tokio::sync::mpsc;

/// Something to do on the connection.
#[derive(Debug)]
pub(crate) enum Item {
    /// Send a message.
    Send(Message),
    /// Ping and tell the round trip.
    Ping,
    /// Close.
    Close(CloseCode, String),
    /// The person has typed Ctrl-C.
    Interrupt,
    /// The input can't be read, or is not what it should be.
    Broken(String),
}

/// Which messages to send.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// None.
    Nothing,
    /// Those of the command line: texts, then files.
    Given {
        texts: Vec<String>,
        files: Vec<PathBuf>,
        binary: bool,
    },
    /// Standard input.
    Pipe { binary: bool },
}

/// The items; `None` is the end of the input.
pub(crate) type Input = mpsc::Receiver<Item>;

/// Starts to read `source`.
pub(crate) fn start(source: Source) -> io::Result<Input> {
    on_a_thread(move |out| match source {
        Source::Nothing => {}
        Source::Given {
            texts,
            files,
            binary,
        } => given(texts, &files, binary, &out),
        Source::Pipe { binary: false } => lines(io::stdin().lock(), &out),
        Source::Pipe { binary: true } => pieces(io::stdin().lock(), &out),
    })
}

/// Starts to read what a person types.
pub(crate) fn prompt(editor: Editor, console: Console, binary: bool) -> io::Result<Input> {
    on_a_thread(move |out| typed(editor, &console, binary, &out))
}

fn on_a_thread(read: impl FnOnce(Out) + Send + 'static) -> io::Result<Input> {
    let (out, input) = mpsc::channel(AHEAD);
    thread::Builder::new()
        .name("input".into())
        .spawn(move || read(Out(out)))?;
    Ok(input)
}

struct Out(mpsc::Sender<Item>);

impl Out {
    /// False once nobody listens any more.
    fn put(&self, item: Item) -> bool {
        self.0.blocking_send(item).is_ok()
    }

    fn broken(&self, why: String) {
        self.put(Item::Broken(why));
    }
}

fn given(texts: Vec<String>, files: &[PathBuf], binary: bool, out: &Out) {
    for text in texts {
        let message = match binary {
            true => Message::from(text.into_bytes()),
            false => Message::from(text),
        };
        if !out.put(Item::Send(message)) {
            return;
        }
    }
    for file in files {
        match read_file(file, binary) {
            Ok(message) => {
                if !out.put(Item::Send(message)) {
                    return;
                }
            }
            Err(why) => return out.broken(why),
        }
    }
}

/// One message out of a file: text if it is UTF-8 and nothing else was asked for. `-` is standard input.
fn read_file(path: &Path, binary: bool) -> Result<Message, String> {
    let mut octets = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().read_to_end(&mut octets).map(drop),
        false => std::fs::read(path).map(|read| octets = read),
    };
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(match binary {
        true => Message::from(octets),
        false => String::from_utf8(octets)
            .map_or_else(|error| Message::from(error.into_bytes()), Message::from),
    })
}

/// A text message for each line, without its end.
fn lines(mut input: impl BufRead, out: &Out) {
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return out.broken(format!("the input cannot be read: {error}")),
        }
        while line.last().is_some_and(|end| b"\r\n".contains(end)) {
            let end = line.pop();
            if end == Some(b'\n') && line.last() != Some(&b'\r') {
                break;
            }
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return out.broken(format!(
                "line {number} of the input is no UTF-8: say --binary"
            ));
        };
        if !out.put(Item::Send(Message::from(text))) {
            return;
        }
    }
}

/// A binary message for each piece, as it comes.
fn pieces(mut input: impl Read, out: &Out) {
    let mut buffer = vec![0; PIECE];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if !out.put(Item::Send(Message::from(buffer[..n].to_vec()))) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return out.broken(format!("the input cannot be read: {error}")),
        }
    }
}

fn typed(mut editor: Editor, console: &Console, binary: bool, out: &Out) {
    loop {
        let line = match editor.line() {
            Line::Typed(line) => line,
            Line::Interrupt => {
                out.put(Item::Interrupt);
                return;
            }
            Line::End => return,
            Line::Broken(why) => return out.broken(why),
        };
        let goes_on = match command::read(&line) {
            Ok(Typed::Nothing) => true,
            Ok(Typed::Text(text)) if binary => {
                out.put(Item::Send(Message::from(text.into_bytes())))
            }
            Ok(Typed::Text(text)) => out.put(Item::Send(Message::from(text))),
            Ok(Typed::Binary(octets)) => out.put(Item::Send(Message::from(octets))),
            Ok(Typed::File { path, binary }) => match read_file(&path, binary) {
                Ok(message) => out.put(Item::Send(message)),
                Err(why) => console.say(&why),
            },
            Ok(Typed::Ping) => out.put(Item::Ping),
            Ok(Typed::Close(code, reason)) => {
                out.put(Item::Close(code, reason));
                return;
            }
            Ok(Typed::Help) => console.say(command::HELP),
            Err(why) => console.say(&why),
        };
        if !goes_on {
            return;
        }
    }
}

/// Messages read ahead.
const AHEAD: usize = 16;
/// Longest piece of piped octets.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(read: impl FnOnce(Out) + Send + 'static) -> Vec<String> {
        let mut input = on_a_thread(read).expect("a thread");
        let mut items = Vec::new();
        while let Some(item) = input.blocking_recv() {
            items.push(match item {
                Item::Send(Message::Text(text)) => format!("text {text:}"),
                Item::Send(Message::Binary(octets)) => format!("binary {}", octets.len()),
                Item::Broken(why) => format!("broken: {why}"),
                other => format!("{other:?}"),
            });
        }
        items
    }

    #[test]
    fn piped_lines_are_messages_without_their_ends() {
        let got = all(|out| lines(&b"a\nb\r\n\nlast \xc3\xa9"[..], &out));
        assert_eq!(got, ["text a", "text b", "text ", "text last é"]);
        let got = all(|out| lines(&b"a\n\xff\nb\n"[..], &out));
        assert_eq!(got[0], "text a");
        assert!(
            got[1].starts_with("broken: line 2 ") && got.len() == 2,
            "{got:?}"
        );
    }

    #[test]
    fn piped_octets_go_in_pieces() {
        let octets = vec![7; PIECE + 1];
        let got = all(move |out| pieces(&octets[..], &out));
        assert_eq!(got, [format!("binary {PIECE}"), "binary 1".to_owned()]);
    }

    #[test]
    fn what_is_given_is_sent_in_order_and_a_missing_file_is_named() {
        let got = all(|out| given(vec!["x".into()], &["/no/such/file".into()], false, &out));
        assert_eq!(got[0], "text x");
        assert!(got[1].contains("/no/such/file cannot be read"), "{got:?}");
        let got = all(|out| given(vec!["x".into()], &[], true, &out));
        assert_eq!(got, ["binary 1"]);
    }
}
