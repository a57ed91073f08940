//! Pings that the application asks for, and which of them were answered (RFC 6455 §5.5.2, §5.5.3); the
//! keepalive's own pings are empty and are not counted here.

/// Each ping's payload is its number, eight octets, counted from 1.
#[derive(Default)]
pub(super) struct Pings {
    sent: u64,
    answered: u64,
}

impl Pings {
    /// Counts one more; its number.
    pub(super) fn next(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// The highest number answered; 0 before the first answer.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// A pong came. It answers the ping whose number it carries and those before it; any other one is
    /// unsolicited and means nothing.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        let Ok(number) = payload.try_into().map(u64::from_be_bytes) else {
            return;
        };
        //= rfc6455#5.5.3  only the most recent of several pings need be answered.
        if number <= self.sent {
            self.answered = self.answered.max(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, client_frame, resources};
    use super::super::{Connection, Outbox, Role};
    use crate::close::CloseCode;
    use std::io::IoSlice;
    use std::sync::Arc;

    #[test]
    fn a_pong_answers_its_ping_and_those_before_and_others_mean_nothing() {
        let mut r = resources();
        let outbox = Outbox::default();
        let mut server = Connection::new(Role::Server, Arc::default(), outbox, at(0));
        assert_eq!(server.pings_answered(), 0);
        assert_eq!([1, 2, 3].map(|_| server.ping(&mut r)), [1, 2, 3].map(Some));
        let mut slices = [IoSlice::new(&[]); 1];
        assert_eq!(server.poll_transmit(&mut slices), 1);
        assert_eq!(slices[0][..10], *b"\x89\x08\0\0\0\0\0\0\0\x01");
        let rows: &[(&[u8], u64)] = &[
            (b"", 0),
            (b"another", 0),
            (&9u64.to_be_bytes(), 0),
            (&2u64.to_be_bytes(), 2),
            (&1u64.to_be_bytes(), 2),
            (&3u64.to_be_bytes(), 3),
        ];
        for (payload, answered) in rows {
            let mut wire = client_frame(0x8A, payload);
            assert!(server.receive(at(1), &mut &mut wire[..], &mut r).is_none());
            assert_eq!(server.pings_answered(), *answered, "{payload:?}");
        }
    }

    #[test]
    fn no_ping_is_sent_after_our_close() {
        let mut r = resources();
        let outbox = Outbox::default();
        let mut server = Connection::new(Role::Server, Arc::default(), outbox, at(0));
        server.close(at(0), CloseCode::NORMAL, "", &mut r);
        let owed = server.queued();
        assert_eq!((server.ping(&mut r), server.queued()), (None, owed));
    }
}
