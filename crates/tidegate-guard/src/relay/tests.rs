//! What each side is told when the other ends.

use super::*;

fn closed(code: Option<u16>, by: Side, clean: bool, cause: Option<ProtocolError>) -> Closed {
    Closed {
        code: code.and_then(CloseCode::new),
        reason: "why".into(),
        by,
        clean,
        cause,
    }
}

#[test]
fn each_side_is_told_in_its_own_terms() {
    let broke = Some(ProtocolError::Masked);
    let silent = Some(ProtocolError::Unresponsive);
    let slow = Some(ProtocolError::SlowConsumer);
    let rows = [
        (closed(Some(4_000), Side::Peer, true, None), 4_000, 4_000),
        (closed(Some(1_001), Side::Peer, true, None), 1_001, 1_001),
        (closed(None, Side::Peer, true, None), 1_000, 1_000),
        (closed(Some(1_002), Side::Peer, false, broke), 1_001, 1_014),
        (closed(None, Side::Transport, false, None), 1_001, 1_013),
        (closed(None, Side::Transport, false, silent), 1_001, 1_013),
        (closed(Some(1_013), Side::Peer, false, slow), 1_001, 1_013),
        (closed(Some(1_008), Side::Us, true, None), 1_001, 1_013),
    ];
    for (why, to_upstream, to_client) in rows {
        assert_eq!(farewell(&why, true).0.get(), to_upstream, "{why:?}");
        assert_eq!(farewell(&why, false).0.get(), to_client, "{why:?}");
    }
    let spoken = closed(Some(4_000), Side::Peer, true, None);
    assert_eq!(farewell(&spoken, true).1, "why");
}

#[test]
fn a_client_hears_of_its_upstream_what_helps_it() {
    let rows = [
        (DialError::Transport, 502),
        (DialError::Cut, 502),
        (DialError::Timeout, 504),
    ];
    for (error, status) in rows {
        assert_eq!(refusal(&error).status, status, "{error}");
    }
    for (status, told) in [(426, 426), (401, 401), (302, 302), (200, 502), (999, 502)] {
        let headers = tidegate_proto::handshake::Fields::default();
        let error = DialError::Refused { status, headers };
        assert_eq!(refusal(&error).status, told);
    }
}
