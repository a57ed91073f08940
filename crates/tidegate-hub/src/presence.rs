//! Who is in a channel: a list by client and a count by user. It only counts; telling others is the shard's.

use crate::publication::ClientInfo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The clients of one channel, with the number of different users among them.
#[derive(Default)]
pub(crate) struct Presence {
    clients: BTreeMap<u128, Arc<ClientInfo>>,
    users: BTreeMap<Arc<str>, u32>,
    bytes: usize,
}

/// How many are in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PresenceStats {
    /// Connections.
    pub clients: usize,
    /// Different users among them; all anonymous clients are one user.
    pub users: usize,
}

impl Presence {
    /// Adds a client; false if it was there.
    pub(crate) fn join(&mut self, info: &Arc<ClientInfo>) -> bool {
        if self.clients.insert(info.id(), Arc::clone(info)).is_some() {
            return false;
        }
        self.bytes += info.json().len();
        *self.users.entry(Arc::clone(info.user())).or_default() += 1;
        true
    }

    /// Removes a client; false if it was not there.
    pub(crate) fn leave(&mut self, info: &ClientInfo) -> bool {
        let Some(known) = self.clients.remove(&info.id()) else {
            return false;
        };
        self.bytes -= known.json().len();
        if let Some(connections) = self.users.get_mut(known.user()) {
            *connections -= 1;
            if *connections == 0 {
                self.users.remove(known.user());
            }
        }
        true
    }

    pub(crate) fn stats(&self) -> PresenceStats {
        PresenceStats {
            clients: self.clients.len(),
            users: self.users.len(),
        }
    }

    /// Everyone, unless their descriptions are longer than `most` bytes in sum.
    pub(crate) fn list(&self, most: usize) -> Option<Vec<Arc<ClientInfo>>> {
        (self.bytes <= most).then(|| self.clients.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_counted_once_and_leave_with_their_last_connection() {
        let info = |id, user: &str| Arc::new(ClientInfo::new(id, user, None));
        let (ann, ann_too, bob) = (info(1, "ann"), info(2, "ann"), info(3, "bob"));
        let mut presence = Presence::default();
        assert!(presence.join(&ann) && presence.join(&ann_too) && presence.join(&bob));
        assert!(!presence.join(&bob));
        let stats = |clients, users| PresenceStats { clients, users };
        assert_eq!(presence.stats(), stats(3, 2));
        assert!(presence.leave(&ann));
        assert!(!presence.leave(&ann));
        assert_eq!(presence.stats(), stats(2, 2));
        assert!(presence.leave(&ann_too));
        assert_eq!(presence.stats(), stats(1, 1));
        assert!(presence.leave(&bob));
        assert_eq!(presence.stats(), stats(0, 0));
        assert_eq!(presence.bytes, 0);
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_whole() {
        let mut presence = Presence::default();
        for id in 0..10 {
            presence.join(&Arc::new(ClientInfo::new(id, "", None)));
        }
        let size = presence.bytes;
        assert_eq!(presence.list(size).map(|list| list.len()), Some(10));
        assert!(presence.list(size - 1).is_none());
    }
}
