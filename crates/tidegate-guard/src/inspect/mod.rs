//! The inspections; each looks at whole messages and keeps what it must remember of a peer.

pub mod behaviour;
mod clean;
pub(crate) mod detect;
pub(crate) mod inspector;
pub(crate) mod json;
mod layers;
mod leak;
mod needles;
pub(crate) mod rate;
pub(crate) mod rules;
#[cfg(feature = "schema")]
pub(crate) mod schema;

/// Makes now what the first [`inspector::Inspector`] makes otherwise.
pub(crate) fn compile() {
    detect::Engine::get();
    leak::Leaks::get();
}

/// A member that a query language takes for an operator.
fn nosql_operator(key: &[u8]) -> bool {
    detect::is_operator(key)
}

/// A member that is an object's prototype in JavaScript; `above` is the name of the member that it is in.
fn prototype_member(key: &[u8], above: Option<&[u8]>) -> bool {
    match key {
        b"__proto__" | b"__defineGetter__" | b"__defineSetter__" | b"__lookupGetter__" => true,
        b"prototype" => above == Some(b"constructor"),
        _ => key == b"constructor.prototype" || key.starts_with(b"__proto__."),
    }
}
