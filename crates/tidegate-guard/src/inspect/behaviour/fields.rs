//! The few members of a message that behaviour is judged by, picked out in one walk.

use crate::inspect::json::{self, Fault, JsonLimits, Leaf, Path, Place, Sink};

/// What stands at some pointers, as it is spelt; strings decoded.
pub(super) struct Fields<'a> {
    found: Vec<(&'a str, Option<String>)>,
}

impl<'a> Fields<'a> {
    /// What a message has at these pointers; nothing where it is no JSON.
    pub(super) fn of(message: &[u8], pointers: &[&'a str]) -> Fields<'a> {
        let found = pointers.iter().map(|pointer| (*pointer, None)).collect();
        let mut fields = Fields { found };
        if json::looks_like_json(message) {
            let limits = JsonLimits::default();
            json::walk(message, &limits, &mut json::Scratch::default(), &mut fields);
        }
        fields
    }

    pub(super) fn at(&self, pointer: &str) -> Option<&str> {
        let mut all = self.found.iter();
        all.find(|(name, _)| *name == pointer)?.1.as_deref()
    }
}

impl Sink for Fields<'_> {
    fn leaf(&mut self, leaf: Leaf<'_>) -> bool {
        if leaf.place != Place::Key {
            let here = self.found.iter_mut().filter(|(at, _)| leaf.path.is(at));
            // Where a key stands twice the last one counts, as with most readers.
            here.for_each(|(_, text)| *text = Some(String::from_utf8_lossy(leaf.text).into()));
        }
        true
    }

    fn fault(&mut self, _: Fault, _: Path<'_>) -> bool {
        true
    }
}
