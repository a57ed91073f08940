//! What a line typed at the prompt means: a message, or a command that begins with a slash. It does nothing itself.

use super::hex;
use std::path::PathBuf;
use tidegate_proto::CloseCode;

/// A line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Typed {
    /// Nothing to do.
    Nothing,
    /// Send this text.
    Text(String),
    /// Send these octets.
    Binary(Vec<u8>),
    /// Send this file as one message; as binary if it is none of text or that was asked for.
    File { path: PathBuf, binary: bool },
    /// Ping, and tell the round trip.
    Ping,
    /// Close with a code and a reason.
    Close(CloseCode, String),
    /// List the commands.
    Help,
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub(crate) fn read(line: &str) -> Result<Typed, String> {
    if line.is_empty() {
        return Ok(Typed::Nothing);
    }
    let Some(command) = line.strip_prefix('/') else {
        return Ok(Typed::Text(line.to_owned()));
    };
    if command.starts_with('/') {
        return Ok(Typed::Text(command.to_owned()));
    }
    let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
    let rest = rest.trim();
    match word {
        "help" | "?" => Ok(Typed::Help),
        "ping" => Ok(Typed::Ping),
        "hex" => hex::parse(rest)
            .filter(|octets| !octets.is_empty())
            .map(Typed::Binary)
            .ok_or_else(|| "/hex wants pairs of hexadecimal digits, as in /hex 00 ff".into()),
        "file" | "binary" if rest.is_empty() => Err(format!("/{word} wants the path of a file")),
        "file" | "binary" => Ok(Typed::File {
            path: rest.into(),
            binary: word == "binary",
        }),
        "close" | "quit" => close(rest),
        _ => Err(format!(
            "no command /{word}; /help lists them, and // sends a /"
        )),
    }
}

fn close(rest: &str) -> Result<Typed, String> {
    if rest.is_empty() {
        return Ok(Typed::Close(CloseCode::NORMAL, String::new()));
    }
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    code.parse()
        .ok()
        .and_then(CloseCode::new)
        .map(|code| Typed::Close(code, reason.to_owned()))
        .ok_or_else(|| {
            "/close wants a code of 1000 to 1014 or 3000 to 4999, as in /close 1000 bye".into()
        })
}

/// What `/help` shows.
pub(crate) const HELP: &str = "\
A line is sent as a text message. Commands:
  /ping                 ping, and tell the round trip
  /hex 00 ff            send these octets as a binary message
  /file PATH            send a file as one message: text if it is UTF-8
  /binary PATH          send a file as one binary message
  /close [CODE REASON]  close; so do /quit and Ctrl-D
  //text                send a text that begins with a slash";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let rows = [
            ("", Typed::Nothing),
            ("hello", Typed::Text("hello".into())),
            ("  spaced ", Typed::Text("  spaced ".into())),
            ("//etc", Typed::Text("/etc".into())),
            ("/ping", Typed::Ping),
            ("/help", Typed::Help),
            ("/hex 00 Ff", Typed::Binary(vec![0, 255])),
            (
                "/file  a b",
                Typed::File {
                    path: "a b".into(),
                    binary: false,
                },
            ),
            (
                "/binary x",
                Typed::File {
                    path: "x".into(),
                    binary: true,
                },
            ),
            ("/quit", Typed::Close(CloseCode::NORMAL, "".into())),
            (
                "/close 4000 so long",
                Typed::Close(CloseCode::new(4000).expect("valid"), "so long".into()),
            ),
        ];
        for (line, expected) in rows {
            assert_eq!(read(line), Ok(expected), "{line}");
        }
        for bad in [
            "/",
            "/nope",
            "/hex",
            "/hex 0",
            "/file",
            "/close 1006",
            "/close x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
