//! How a reader, a writer or a permit gets at its connection: it has borrowed it, or it shares it with the
//! other half.

use super::core::Core;
use super::shared::{Place, Shared};
use std::task::{Context, Poll};

pub(super) enum Access<'a, S> {
    Own(&'a mut Core<S>),
    Shared(&'a Shared<Core<S>>, Place),
}

impl<'a, S> Access<'a, S> {
    pub(super) fn own(core: &'a mut Core<S>) -> Access<'a, S> {
        Access::Own(core)
    }

    pub(super) fn shared(shared: &'a Shared<Core<S>>) -> Access<'a, S> {
        Access::Shared(shared, shared.join())
    }

    /// Does something at once.
    pub(super) fn now<R>(&mut self, f: impl FnOnce(&mut Core<S>) -> R) -> R {
        match self {
            Access::Own(core) => f(core),
            Access::Shared(shared, _) => shared.now(f),
        }
    }

    pub(super) fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut Core<S>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        match self {
            Access::Own(core) => f(core, cx),
            Access::Shared(shared, place) => shared.poll_at(*place, cx, f),
        }
    }
}

impl<S> Drop for Access<'_, S> {
    fn drop(&mut self) {
        if let Access::Shared(shared, place) = self {
            shared.leave(*place);
        }
    }
}
