//! What judges the messages of a worker's routes, each made when its route is first met. It judges; what follows from a
//! verdict is the relay's, or the sentry's.

use crate::behaviour::{Behaviours, Counters};
use crate::inspect::inspector::{Direction, Inspector, Kind, Verdict};
use crate::policy::Route;
use std::sync::Arc;
use tidegate_proto::Incoming;

/// A [`Judge`] for each route. A policy has few routes, so they are looked for one by one.
#[derive(Default)]
pub(crate) struct Judges(Vec<Judge>);

/// What judges the messages of one route.
pub(crate) struct Judge {
    route: Arc<Route>,
    /// None when no rule is asked.
    inspector: Option<Inspector>,
    /// Of all workers, when something is watched across messages.
    pub(crate) counters: Option<Counters>,
}

impl Judges {
    pub(crate) fn of(&mut self, route: &Arc<Route>, behaviours: &Behaviours) -> &mut Judge {
        let known = self
            .0
            .iter()
            .position(|judge| Arc::ptr_eq(&judge.route, route));
        let at = known.unwrap_or_else(|| {
            self.0.push(Judge::new(route, behaviours));
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// Another policy is in force: what no connection needs any more goes.
    pub(crate) fn forget_unused(&mut self) {
        self.0.retain(|judge| Arc::strong_count(&judge.route) > 1);
    }
}

impl Judge {
    fn new(route: &Arc<Route>, behaviours: &Behaviours) -> Judge {
        let watched = route.behaviour.as_ref();
        Judge {
            route: Arc::clone(route),
            inspector: route.rules.any().then(|| inspector(route)),
            counters: watched.and_then(|_| behaviours.of(&route.name)),
        }
    }

    /// One verdict on one whole message.
    pub(crate) fn judge(&mut self, direction: Direction, message: &Incoming<'_>) -> Verdict {
        let kind = match message {
            Incoming::Text(_) => Kind::Text,
            Incoming::Binary(_) => Kind::Binary,
        };
        self.judge_octets(direction, kind, message.as_bytes())
    }

    /// The same of what is a message to the handler and only a part of one on the wire.
    pub(crate) fn judge_octets(
        &mut self,
        direction: Direction,
        kind: Kind,
        octets: &[u8],
    ) -> Verdict {
        match &mut self.inspector {
            Some(inspector) => inspector.inspect(direction, kind, octets),
            None => Verdict::Pass,
        }
    }
}

/// The inspection that a route asks for.
fn inspector(route: &Route) -> Inspector {
    let inspector =
        Inspector::new(&route.rules).expect("a policy's rules are rules that there are");
    #[cfg(feature = "schema")]
    let inspector = inspector.with_schemas(schemas(route));
    inspector
}

#[cfg(feature = "schema")]
fn schemas(route: &Route) -> crate::Schemas {
    let each = route.schemas.iter();
    each.fold(crate::Schemas::default(), |schemas, (direction, rules)| {
        let with = schemas.with(*direction, rules);
        with.expect("a policy's schemas were compiled when it was read")
    })
}
