//! The guide's chapters as documentation tests, and the frames they show as text. Never part of a program.

#![forbid(unsafe_code)]

use tidegate_proto::frame::FrameHeader;

/// Each chapter that has Rust in it; `cargo test --doc` compiles and runs what it shows.
#[cfg(doctest)]
mod chapters {
    macro_rules! chapter {
        ($name:ident, $file:literal) => {
            #[doc = include_str!(concat!("../../../docs/guide/", $file))]
            mod $name {}
        };
    }
    chapter!(client, "client.md");
    chapter!(guard_content, "guard-content.md");
    chapter!(handler, "handler.md");
    chapter!(messages, "messages.md");
    chapter!(server, "server.md");
}

/// The lines of a chapter's ```` ```frames ```` blocks: the octets, and what the chapter says of them.
pub fn frames(chapter: &str) -> Vec<(&str, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in chapter.lines() {
        match line.trim() {
            "```frames" => inside = true,
            "```" => inside = false,
            shown if inside => found.push(shown.split_once("   ").unwrap_or((shown, ""))),
            _ => {}
        }
    }
    found
}

/// What the protocol core reads from the octets of a frame's front, in the guide's words.
///
/// # Errors
/// A sentence, when they are no whole frame header or what follows is not its payload.
pub fn describe(octets: &str) -> Result<String, String> {
    let bytes = hex(octets)?;
    let (header, end) = FrameHeader::parse(&bytes)
        .map_err(|error| error.to_string())?
        .ok_or("the header is cut short")?;
    let payload = (bytes.len() - end) as u64;
    if payload != 0 && payload != header.len {
        return Err(format!(
            "{payload} octets of payload, {} announced",
            header.len
        ));
    }
    let fin = if header.fin { "final" } else { "more follows" };
    let masked = if header.mask.is_some() {
        ", masked"
    } else {
        ""
    };
    Ok(format!(
        "{}, {fin}{masked}, {} octets",
        header.opcode, header.len
    ))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| {
            let pair = digits.get(at..at + 2).ok_or("half an octet")?;
            u8::from_str_radix(pair, 16).map_err(|error| format!("{pair}: {error}"))
        })
        .collect()
}
