//! The guard before the hub of `tidegate serve`: the same policy file, and the part of it that makes sense there. What does not
//! is refused, never passed over: the hub has its own limits, its own tokens and its own proxies.

use super::evidence::{Evidence, Writing};
use super::settings::policy;
use crate::error::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegate_guard::behaviour::Behaviours;
use tidegate_guard::credential::Unsigned;
use tidegate_guard::door::Shared;
use tidegate_guard::{Direction, Mode, Policy, Proxies, Witness};

/// What stands before the hub for as long as the process runs.
pub(crate) struct Serving {
    shared: Shared,
    evidence: Arc<Evidence>,
    writing: Writing,
}

/// Reads the policy of `--guard`.
///
/// # Errors
/// What is wrong with it, with line and column, or what the hub does not have from it.
pub(crate) fn read(file: &Path) -> Result<Arc<Policy>, Failure> {
    let read = policy(Some(file))?;
    match not_the_hubs(&read) {
        None => Ok(read),
        Some((what, instead)) => Err(Failure::usage(format!(
            "{}: {what} is not for the guard before the hub: {instead}",
            file.display()
        ))),
    }
}

/// What of a policy does not hold before a hub, and what does there.
fn not_the_hubs(policy: &Policy) -> Option<(&'static str, &'static str)> {
    let usual = Policy::default();
    let plain = &usual.routes()[0];
    let routes = policy.routes();
    let any = |is: &dyn Fn(&tidegate_guard::Route) -> bool| routes.iter().any(|route| is(route));
    let leaves = |route: &tidegate_guard::Route| {
        let mut schemas = route.schemas.iter();
        schemas.any(|(direction, _)| *direction == Direction::ToClient)
    };
    let rows = [
        (
            !policy.issuers.is_empty() || any(&|route| route.auth.is_some()),
            (
                "[auth] with [[issuers]]",
                "the hub has tokens of its own, [tokens] in --config",
            ),
        ),
        (
            policy.connections != usual.connections,
            ("[connections]", "caps stand in [limits] of --config"),
        ),
        (
            any(&|route| route.limits != plain.limits),
            (
                "[limits] but for connections",
                "sizes and waits stand in [limits] of --config",
            ),
        ),
        (
            any(&|route| {
                (route.compression, route.max_ratio) != (plain.compression, plain.max_ratio)
            }),
            ("[compression]", "the hub decides it"),
        ),
        (
            policy.trusted_proxies != Proxies::default(),
            ("trusted_proxies", "they stand in [server] of --config"),
        ),
        (
            policy.client_cert,
            ("client_cert", "the hub asks for no certificate"),
        ),
        (
            policy.plain_http != usual.plain_http,
            ("plain_http", "the pages and the HTTP API are the server's"),
        ),
        (
            any(&|route| route.behaviour.is_some()),
            ("[behaviour]", "the hub's commands are not read by it yet"),
        ),
        (
            any(&leaves),
            ("[schema.to_client]", "what the hub says is not judged"),
        ),
        (
            any(&|route| names_a_leak(route)),
            ("a leak rule", "what the hub says is not judged"),
        ),
    ];
    rows.into_iter()
        .find_map(|(said, what)| said.then_some(what))
}

/// A rule about what leaves is spoken of, and not to turn it off.
fn names_a_leak(route: &tidegate_guard::Route) -> bool {
    let mut modes = route.rules.modes.iter();
    modes.any(|(name, mode)| name.starts_with("leak") && *mode != Mode::Off)
}

impl Serving {
    /// Opens the audit file, if the policy names one.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(crate) fn start(policy: &Policy, file: &Path) -> Result<Serving, Failure> {
        let unwritten = Arc::default();
        let folder = file.parent().unwrap_or(Path::new(""));
        let audit: Option<PathBuf> = policy.audit.as_ref().map(|audit| folder.join(audit));
        let (evidence, writing) = Evidence::start(audit.as_deref(), Arc::clone(&unwritten))?;
        let shared = Shared {
            verifier: Arc::new(|_, _| Err(Unsigned::Wrong)),
            tickets: Arc::default(),
            crowd: Arc::default(),
            unwritten,
            behaviours: Arc::new(Behaviours::new(0)),
        };
        Ok(Serving {
            shared,
            evidence,
            writing,
        })
    }

    /// What each worker's guard is made with.
    pub(crate) fn parts(&self) -> (Shared, Witness) {
        (self.shared.clone(), self.evidence.witness())
    }

    /// What was done, for those who ask.
    pub(crate) fn evidence(&self) -> Arc<Evidence> {
        Arc::clone(&self.evidence)
    }

    /// All that happened is written. The workers must be gone.
    pub(crate) fn finish(self) {
        self.evidence.stop();
        self.writing.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_hubs_is_refused_and_the_rest_is_taken() {
        let asked = |text: &str| not_the_hubs(&Policy::parse(text).expect(text));
        for good in [
            "",
            "[rules]\nmode = \"block\"\nleak = \"off\"\n",
            "[audit]\nfile = \"a.jsonl\"\n",
            "[limits]\nconnections = 2\n",
            "[origins]\nallow = [\"https://app.example\"]\n",
            "[server]\nhosts = [\"api.example\"]\nallow_plain = true\n",
            "[rates]\nmessages = { per_second = 1, burst = 1 }\n",
            "[[routes]]\npath = \"/connection/websocket\"\nrules.sqli = \"block\"\n",
        ] {
            assert_eq!(asked(good), None, "{good}");
        }
        for bad in [
            "[limits]\nidle = \"60s\"\n",
            "[limits]\nmessage_size = \"1KiB\"\n",
            "[connections]\nper_ip = 2\n",
            "[compression]\ndeflate = \"on\"\n",
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
            "[server]\nplain_http = \"refuse\"\n",
            "[rules]\nleak-card = \"mask\"\n",
            "[[routes]]\npath = \"/connection/websocket\"\nrules.leak = \"block\"\n",
            "[server]\nclient_cert = true\n",
            "[auth]\nsources = [\"certificate\"]\n",
            "[behaviour]\norder = [{ first = \"a\", then = [\"b\"] }]\n",
        ] {
            assert!(asked(bad).is_some(), "{bad}");
        }
    }
}
