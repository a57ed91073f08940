//! [`History`]: what is remembered of one client for the rules across messages, and as whom it is counted.

use crate::behaviour::{Conversation, Who};
use crate::credential::Bearer;
use std::net::{IpAddr, Ipv6Addr};

/// One client's.
pub(super) struct History {
    /// Its address as it is counted: of IPv6 its /64.
    address: String,
    conversation: Conversation,
}

impl History {
    pub(super) fn new(from: IpAddr) -> History {
        History {
            address: counted(from).to_string(),
            conversation: Conversation::default(),
        }
    }

    pub(super) fn who<'a>(&'a self, bearer: Option<&'a Bearer>) -> Who<'a> {
        who(&self.address, bearer)
    }

    pub(super) fn parts<'a>(
        &'a mut self,
        bearer: Option<&'a Bearer>,
    ) -> (Who<'a>, &'a mut Conversation) {
        (who(&self.address, bearer), &mut self.conversation)
    }
}

fn who<'a>(address: &'a str, bearer: Option<&'a Bearer>) -> Who<'a> {
    Who {
        identity: bearer.map_or("", |bearer| &*bearer.subject),
        address,
        claims: bearer.map_or(&[][..], |bearer| &bearer.claims[..]),
    }
}

/// A household or a machine has a whole /64 of IPv6.
fn counted(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_by_its_network() {
        let rows = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::"),
            ("2001:db8:0:0:ffff::2", "2001:db8::"),
        ];
        for (from, expected) in rows {
            let history = History::new(from.parse().expect("an address"));
            assert_eq!(history.who(None).address, expected);
        }
    }
}
