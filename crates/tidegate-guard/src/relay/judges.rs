//! The content inspections of a worker's routes, each made when its route first has a message to judge. They judge; what
//! follows from a verdict is the relay's.

use crate::inspect::inspector::{Direction, Inspector, Kind, Verdict};
use crate::inspect::rules::{Mode, Rules};
use crate::policy::{self, Route};
use std::sync::Arc;
use tidegate_proto::Incoming;

/// An [`Inspector`] for each route that has rules. A policy has few routes, so they are looked for one by one.
#[derive(Default)]
pub(super) struct Judges(Vec<(Arc<Route>, Inspector)>);

impl Judges {
    /// One verdict on one whole message.
    pub(super) fn judge(
        &mut self,
        route: &Arc<Route>,
        direction: Direction,
        message: &Incoming<'_>,
    ) -> Verdict {
        if !route.rules.any() {
            return Verdict::Pass;
        }
        let kind = match message {
            Incoming::Text(_) => Kind::Text,
            Incoming::Binary(_) => Kind::Binary,
        };
        self.of(route).inspect(direction, kind, message.as_bytes())
    }

    fn of(&mut self, route: &Arc<Route>) -> &mut Inspector {
        let known = self.0.iter().position(|(own, _)| Arc::ptr_eq(own, route));
        let at = known.unwrap_or_else(|| {
            let rules = Rules::from(&route.rules);
            let inspector =
                Inspector::new(&rules).expect("a policy's rules are rules that there are");
            self.0.push((Arc::clone(route), inspector));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// Another policy is in force: inspections that no connection needs any more go.
    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|(route, _)| Arc::strong_count(route) > 1);
    }
}

/// A mode in the words of the policy: a message that passes masked is one that was watched.
pub(super) fn shown(mode: Mode) -> policy::Mode {
    match mode {
        Mode::Off => policy::Mode::Off,
        Mode::Monitor | Mode::Mask => policy::Mode::Monitor,
        Mode::Block => policy::Mode::Block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_of_a_policy_makes_an_inspection() {
        for mode in [
            policy::Mode::Off,
            policy::Mode::Monitor,
            policy::Mode::Block,
        ] {
            let rules = Rules::from(&policy::Rules::all(mode));
            assert!(Inspector::new(&rules).is_ok(), "{mode:?}");
        }
    }
}
