//! What one subscriber of a channel was told, checked against what the hub promises while it is told: an order
//! without holes and doubles from each position on, and no gap that is not admitted. It sends nothing: the simulator
//! and the clients of real sockets (`tests/crowd`) put their own wires under it.

use serde_json::{Value, json};

/// Offset and epoch.
pub type Position = (u64, String);

/// What is broken, in a sentence.
pub type Checked = Result<(), String>;

/// A subscriber that wants every publication of a channel, as the SDKs do: it keeps its position over connections.
pub struct Account {
    /// What it follows.
    pub channel: String,
    /// How far it has come.
    pub position: Option<Position>,
    /// It is a member, as far as it knows.
    pub subscribed: bool,
    /// Everything it was given since its last admitted gap, by offset.
    pub seen: Vec<(u64, Value)>,
    /// How often it was told that something is gone.
    pub gaps: usize,
    /// How often it was given all that it missed.
    pub recoveries: usize,
    /// How often it was ordered to recover.
    pub resyncs: usize,
}

impl Account {
    /// One that has never subscribed.
    pub fn new(channel: &str) -> Account {
        Account {
            channel: channel.to_owned(),
            position: None,
            subscribed: false,
            seen: Vec::new(),
            gaps: 0,
            recoveries: 0,
            resyncs: 0,
        }
    }

    /// The request of a subscribe command, from its position if it has one.
    pub fn request(&mut self) -> Value {
        self.subscribed = false;
        let mut request = json!({ "channel": self.channel });
        if let Some((offset, epoch)) = &self.position {
            request["recover"] = json!(true);
            request["offset"] = json!(offset);
            request["epoch"] = json!(epoch);
        }
        request
    }

    /// Takes the result of a subscribe command.
    ///
    /// # Errors
    /// When it breaks a promise.
    pub fn answer(&mut self, result: &Value) -> Checked {
        let (Some(offset), Some(epoch)) = (result["offset"].as_u64(), result["epoch"].as_str())
        else {
            return Err(format!("a subscription without a position: {result}"));
        };
        let reply = (offset, epoch.to_owned());
        self.subscribed = true;
        if result["recovered"] == true {
            self.recoveries += 1;
            if self.position.as_ref() != Some(&reply) {
                return Err(format!(
                    "recovered to {reply:?} from {:?} in {}",
                    self.position, self.channel
                ));
            }
            let missed = result["publications"].as_array().into_iter().flatten();
            return missed
                .into_iter()
                .try_for_each(|publication| self.take(publication));
        }
        if self.position.is_some() {
            self.gaps += 1;
            if result["was_recovering"] != true {
                return Err(format!("a gap that is not admitted: {result}"));
            }
        }
        self.seen.clear();
        self.position = Some(reply);
        Ok(())
    }

    /// Takes a push to its channel.
    ///
    /// # Errors
    /// When it breaks a promise.
    pub fn push(&mut self, push: &Value) -> Checked {
        if push["pub"].is_object() {
            return self.take(&push["pub"]);
        }
        if push["unsubscribe"].is_object() {
            if push["unsubscribe"]["code"] != 2500 {
                return Err(format!("unsubscribed for no reason: {push}"));
            }
            self.resyncs += 1;
            self.subscribed = false;
        }
        Ok(())
    }

    fn take(&mut self, publication: &Value) -> Checked {
        let Some(offset) = publication["offset"].as_u64() else {
            return Err(format!("no offset: {publication}"));
        };
        let Some((position, _)) = self.position.as_mut() else {
            return Err(format!("a push before any position: {publication}"));
        };
        if offset != *position + 1 {
            return Err(format!(
                "{offset} after {position} in {}: a gap, a double or a wrong order",
                self.channel
            ));
        }
        *position = offset;
        self.seen.push((offset, publication["data"]["n"].clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, epoch: &str) -> Account {
        let mut account = Account::new("a");
        let first = account.answer(&json!({ "offset": offset, "epoch": epoch }));
        assert_eq!(first, Ok(()));
        account
    }

    fn publication(offset: u64) -> Value {
        json!({ "offset": offset, "data": { "n": offset } })
    }

    #[test]
    fn it_sees_a_hole_a_double_and_a_wrong_order() {
        for (offset, fine) in [(8, true), (9, false), (7, false), (6, false)] {
            let push = json!({ "pub": publication(offset) });
            assert_eq!(at(7, "e").push(&push).is_ok(), fine, "{offset}");
        }
        let mut account = at(7, "e");
        let missed = json!([publication(8), publication(10)]);
        let reply = json!({ "recovered": true, "offset": 7, "epoch": "e", "publications": missed });
        assert!(account.answer(&reply).is_err());
    }

    #[test]
    fn it_sees_a_recovery_that_is_none() {
        for (offset, epoch, fine) in [(7, "e", true), (6, "e", false), (7, "f", false)] {
            let reply = json!({ "recovered": true, "offset": offset, "epoch": epoch });
            assert_eq!(at(7, "e").answer(&reply).is_ok(), fine, "{offset} {epoch}");
        }
    }

    #[test]
    fn a_gap_must_be_admitted() {
        let silent = json!({ "offset": 20, "epoch": "e" });
        assert!(at(7, "e").answer(&silent).is_err());
        let told = json!({ "offset": 20, "epoch": "e", "was_recovering": true });
        let mut account = at(7, "e");
        assert_eq!((account.answer(&told), account.gaps), (Ok(()), 1));
        assert_eq!(account.position, Some((20, "e".to_owned())));
    }
}
