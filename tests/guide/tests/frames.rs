//! The frames that the guide shows are the frames that the core reads. Opens no socket.

use tidegate_guide::{describe, frames};

#[test]
fn every_frame_in_the_guide_is_what_the_guide_says() {
    let shown = frames(include_str!("../../../docs/guide/wire.md"));
    assert!(shown.len() >= 9, "the chapter shows {} frames", shown.len());
    for (octets, says) in shown {
        assert_eq!(describe(octets).as_deref(), Ok(says.trim()), "{octets}");
    }
}

#[test]
fn a_wrong_description_would_be_found() {
    assert_eq!(describe("89 00").as_deref(), Ok("ping, final, 0 octets"));
    assert!(
        describe("8905 00").is_err(),
        "five octets announced, one shown"
    );
    assert!(describe("09 00").is_err(), "a ping in pieces");
    assert!(describe("82 7e 01").is_err(), "a header cut short");
}
