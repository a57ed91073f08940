//! The keys of a policy's issuers: read from files at the start and at each reload, fetched while the guard runs.
//! Signatures are checked by the hub's `TokenKeys`; what a token says is judged by the guard itself.

use crate::control::jwks;
use crate::error::Failure;
use crate::settings::KeySource;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tidegate_guard::Policy;
use tidegate_guard::credential::{Unsigned, Verifier};
use tidegate_guard::policy::Issuer;
use tidegate_hub::{BadKey, NotSigned, TokenKeys};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Keys by issuer.
pub(super) type Ring = Vec<(Arc<Issuer>, TokenKeys)>;

/// The keys in force.
pub(super) struct Keys {
    ring: RwLock<Ring>,
    /// The set last fetched from each URL: it stays while the source fails.
    fetched: Mutex<BTreeMap<String, String>>,
    /// A token names a key that is not known.
    unknown: Arc<Notify>,
    /// The policy, and with it perhaps the sources, is another one.
    changed: Notify,
}

/// Reads the keys that stand in files. Those are named relative to the policy.
///
/// # Errors
/// Which file or key, and what is wrong with it.
pub(super) fn read(policy: &Policy, file: Option<&Path>) -> Result<Ring, Failure> {
    let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let one = |issuer: &Arc<Issuer>| {
        let keys = of_issuer(issuer, folder)
            .map_err(|why| Failure::usage(format!("issuer {}: {why}", issuer.issuer)))?;
        Ok((Arc::clone(issuer), keys))
    };
    policy.issuers.iter().map(one).collect()
}

fn of_issuer(issuer: &Issuer, folder: &Path) -> Result<TokenKeys, String> {
    let sources = &issuer.keys;
    let text = |name: &Path| {
        let path = folder.join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let bad = |why: BadKey| why.to_string();
    let mut keys = TokenKeys::new().with_algorithms(issuer.algorithms.iter().map(|a| a.name()));
    if let Some(secret) = &sources.hmac_secret {
        keys = keys.with_secret(secret.reveal().as_bytes()).map_err(bad)?;
    }
    if let Some(file) = &sources.hmac_secret_file {
        let text = text(file)?;
        for secret in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            keys = keys.with_secret(secret.as_bytes()).map_err(bad)?;
        }
    }
    for file in &sources.public_keys {
        let pem = text(file)?;
        keys = keys
            .with_pem(&pem)
            .map_err(|why| format!("{}: {why}", file.display()))?;
    }
    if let Some(url) = &sources.jwks_url {
        jwks::check_url(url).map_err(|why| format!("jwks_url: {why}"))?;
        keys = keys.fetched();
    }
    Ok(keys)
}

impl Keys {
    pub(super) fn new(ring: Ring) -> Keys {
        Keys {
            ring: RwLock::new(ring),
            fetched: Mutex::default(),
            unknown: Arc::default(),
            changed: Notify::new(),
        }
    }

    /// Another policy's keys; sets fetched before stay with their URL.
    pub(super) fn set(&self, mut ring: Ring) {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        for (issuer, keys) in &mut ring {
            let text = issuer
                .keys
                .jwks_url
                .as_ref()
                .and_then(|url| fetched.get(url));
            if let Some(Ok(with)) = text.map(|text| keys.clone().with_jwks(text)) {
                *keys = with;
            }
        }
        drop(fetched);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        self.changed.notify_one();
    }

    /// What the workers ask.
    pub(super) fn verifier(self: &Arc<Keys>) -> Verifier {
        let keys = Arc::clone(self);
        Arc::new(move |issuer, token| keys.signed(issuer, token))
    }

    fn signed(&self, issuer: &Issuer, token: &str) -> Result<(), Unsigned> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let Some((_, keys)) = ring.iter().find(|(known, _)| **known == *issuer) else {
            return Err(Unsigned::NoKeys);
        };
        match keys.signed(token) {
            Ok(()) => Ok(()),
            Err(NotSigned::Wrong) => Err(Unsigned::Wrong),
            Err(NotSigned::UnknownKey) => {
                self.unknown.notify_waiters();
                match keys.count() {
                    (0, 0) => Err(Unsigned::NoKeys),
                    _ => Err(Unsigned::Wrong),
                }
            }
        }
    }

    fn take(&self, url: &str, text: &str) -> Result<usize, BadKey> {
        let count = TokenKeys::new().with_jwks(text)?.count().1;
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.insert(url.to_owned(), text.to_owned());
        drop(fetched);
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for (issuer, keys) in ring.iter_mut() {
            if issuer.keys.jwks_url.as_deref() == Some(url) {
                *keys = keys.clone().with_jwks(text)?;
            }
        }
        Ok(count)
    }

    /// Fetches key sets, until it is dropped.
    pub(super) async fn run(self: Arc<Keys>) {
        loop {
            let mut sources = JoinSet::new();
            for source in self.sources() {
                let (keys, url) = (Arc::clone(&self), source.url.clone());
                let unknown = Arc::clone(&self.unknown);
                sources.spawn(jwks::keep(source, unknown, move |text| {
                    keys.take(&url, text)
                }));
            }
            self.changed.notified().await;
        }
    }

    fn sources(&self) -> Vec<KeySource> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let mut sources: Vec<KeySource> = Vec::new();
        for (issuer, _) in ring.iter() {
            let Some(url) = &issuer.keys.jwks_url else {
                continue;
            };
            if !sources.iter().any(|source| source.url == *url) {
                sources.push(KeySource {
                    url: url.clone(),
                    refresh: issuer.keys.jwks_refresh,
                });
            }
        }
        sources
    }
}
