//! The hub's configuration as it is in force: what the file says, with the keys that were fetched. It fetches
//! nothing itself.

use crate::settings::KeySource;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_hub::{BadKey, Hub, HubConfig, TokenKeys, UnknownKey};
use tokio::sync::Notify;
use tracing::warn;

/// Puts the hub's configuration together and in force.
pub(crate) struct Keyring {
    state: Mutex<State>,
    /// A source has changed, or a token came whose key is not known.
    wake: Arc<Notify>,
}

struct State {
    base: HubConfig,
    sources: [Option<KeySource>; 2],
    /// The key set last fetched from each source.
    fetched: [Option<Arc<str>>; 2],
}

impl Keyring {
    /// Keeps `base`; keys will come from `sources`, those of connection tokens first.
    pub(crate) fn new(base: HubConfig, sources: [Option<KeySource>; 2]) -> Keyring {
        Keyring {
            state: Mutex::new(State {
                base,
                sources,
                fetched: [None, None],
            }),
            wake: Arc::new(Notify::new()),
        }
    }

    /// The configuration to start with: no key is fetched yet.
    pub(crate) fn config(&self) -> Arc<HubConfig> {
        let state = self.state();
        Arc::new(self.compose(&state))
    }

    /// Puts another file's configuration in force. Keys fetched from a source that stays are kept.
    pub(crate) async fn set_base(
        &self,
        hub: &Hub,
        base: HubConfig,
        sources: [Option<KeySource>; 2],
    ) -> Result<(), tidegate_hub::HubError> {
        let config = {
            let mut state = self.state();
            for (n, source) in sources.into_iter().enumerate() {
                let same = |a: &KeySource, b: &KeySource| a.url == b.url;
                let stays =
                    matches!((&state.sources[n], &source), (Some(a), Some(b)) if same(a, b));
                if !stays {
                    state.fetched[n] = None;
                }
                state.sources[n] = source;
            }
            state.base = base;
            Arc::new(self.compose(&state))
        };
        self.wake.notify_one();
        put_in_force(hub, config).await
    }

    /// A key set came from a source.
    ///
    /// # Errors
    /// It is no key set; the one before stays in force.
    pub(crate) async fn set_fetched(
        &self,
        hub: &Hub,
        n: usize,
        url: &str,
        text: &str,
    ) -> Result<usize, BadKey> {
        let keys = TokenKeys::new().with_jwks(text)?.count().1;
        let config = {
            let mut state = self.state();
            // A reload may have named another source meanwhile.
            if state.sources[n]
                .as_ref()
                .is_none_or(|source| source.url != url)
            {
                return Ok(keys);
            }
            if state.fetched[n].as_deref() == Some(text) {
                return Ok(keys);
            }
            state.fetched[n] = Some(text.into());
            Arc::new(self.compose(&state))
        };
        if let Err(error) = put_in_force(hub, config).await {
            warn!(%error, "fetched keys are not in force on every worker yet");
        }
        Ok(keys)
    }

    /// Where keys come from.
    pub(crate) fn sources(&self) -> [Option<KeySource>; 2] {
        self.state().sources.clone()
    }

    /// Waits until a source has changed, or a token came whose key is not known.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compose(&self, state: &State) -> HubConfig {
        let mut config = state.base.clone();
        let tables = [&mut config.tokens, &mut config.subscription_tokens];
        for (table, text) in tables.into_iter().zip(&state.fetched) {
            if let (Some(keys), Some(text)) = (table.as_mut(), text) {
                // It was read once before it was kept.
                if let Ok(with) = keys.clone().with_jwks(text) {
                    *keys = with;
                }
            }
        }
        if state.sources.iter().any(Option::is_some) {
            let wake = Arc::clone(&self.wake);
            config.unknown_key = Some(UnknownKey::new(move |_| wake.notify_one()));
        }
        config
    }
}

/// A worker that is busy is asked again a few times.
async fn put_in_force(hub: &Hub, config: Arc<HubConfig>) -> Result<(), tidegate_hub::HubError> {
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        last = super::api::ask(|reply| hub.reconfigure(Arc::clone(&config), reply)).await;
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    last
}

const ATTEMPTS: u32 = 10;
