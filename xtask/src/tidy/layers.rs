//! Layers of crates: dependencies point down and siblings never meet. Never looks at code, only at manifests.

use serde_json::Value;

/// Layer of each crate, 0 at the bottom.
const LAYERS: &[(&str, u8)] = &[
    ("tidegate-proto", 0),
    ("tidegate-hub", 1),
    ("tidegate-guard", 1),
    ("tidegate", 1),
    ("tidegate-cli", 2),
];

/// What the bottom crates may not even depend on: it would let a clock, a socket or chance in.
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "getrandom",
    "rand",
    "rand_core",
    "fastrand",
    "rustls",
    "hyper",
    "socket2",
    "rustix",
    "libc",
];
const PURE: &[&str] = &["tidegate-proto", "tidegate-hub", "tidegate-guard"];

pub(super) fn faults(metadata: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let below_crates = package["manifest_path"]
            .as_str()
            .is_some_and(|path| path.contains("/crates/"));
        let layer = layer_of(name);
        if below_crates && layer.is_none() {
            faults.push(format!(
                "{name} has no layer: give it one in xtask/src/tidy/layers.rs"
            ));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            faults.extend(fault(name, layer, on, dependency["kind"].as_str()));
        }
    }
    faults
}

fn fault(name: &str, layer: Option<u8>, on: &str, kind: Option<&str>) -> Option<String> {
    let down = |below: u8| layer.is_none_or(|own| own > below);
    match layer_of(on) {
        Some(_) if name == "xtask" => Some(format!(
            "xtask depends on {on}: it must build without the project"
        )),
        Some(below) if !down(below) && on != name => {
            Some(format!("{name} depends on {on}, which is not below it"))
        }
        None if kind.is_none() && PURE.contains(&name) && IMPURE.contains(&on) => Some(format!(
            "{name} depends on {on}; time, bytes and chance are passed in"
        )),
        _ => None,
    }
}

fn layer_of(name: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use super::{fault, layer_of};

    #[test]
    fn a_crate_may_depend_on_lower_layers_only() {
        let table = [
            ("tidegate-cli", "tidegate-hub", true),
            ("tidegate-hub", "tidegate-proto", true),
            ("tidegate-hub", "tidegate", false),
            ("tidegate", "tidegate-hub", false),
            ("tidegate-proto", "tidegate-hub", false),
            ("tidegate", "tokio", true),
            ("tidegate-hub", "tokio", false),
            ("tidegate-tests", "tidegate-cli", true),
            ("xtask", "tidegate-proto", false),
        ];
        for (name, on, allowed) in table {
            assert_eq!(
                fault(name, layer_of(name), on, None).is_none(),
                allowed,
                "{name} on {on}"
            );
        }
    }

    #[test]
    fn a_test_may_use_what_its_crate_may_not() {
        assert!(fault("tidegate-proto", Some(0), "rand", Some("dev")).is_none());
    }
}
