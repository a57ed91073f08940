//! Reading the configuration again: all of it is checked first, then put in force; when anything is wrong the
//! old one stays. What needs a restart is said, not done.

use super::admin::{Access, ServerState};
use super::api;
use super::keyring::Keyring;
use super::site::Names;
use crate::cli::ServeArgs;
use crate::error::Failure;
use crate::logs::LogFilter;
use crate::routes::RoutesMail;
use crate::service;
use crate::settings::{DoorRules, Live, Settings, name_of};
use crate::tls::Certificates;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate::engine::Mailer;
use tidegate_hub::Hub;
use tidegate_proto::{OriginPolicy, WorkerId};
use tracing::{error, info, warn};

/// All that a reload changes.
pub(crate) struct Reloader {
    pub(crate) args: ServeArgs,
    pub(crate) started: Started,
    pub(crate) hub: Hub,
    pub(crate) mailer: Mailer<RoutesMail>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) api: Arc<api::Door>,
    pub(crate) access: Arc<Access>,
    pub(crate) names: Arc<Names>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) log: LogFilter,
    pub(crate) state: Arc<ServerState>,
    pub(crate) in_force: Mutex<InForce>,
    /// One reload at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// What holds until the process ends.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) listen: SocketAddr,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) workers: usize,
    pub(crate) dev: bool,
}

/// What of the settings is only kept to be looked up.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub(crate) rules: Arc<DoorRules>,
    pub(crate) drain: Duration,
    pub(crate) api_keys: usize,
    pub(crate) jwks: [bool; 2],
}

impl InForce {
    /// What of these settings is looked up later.
    pub(crate) fn of(live: &Live) -> InForce {
        InForce {
            rules: Arc::clone(&live.door),
            drain: live.drain,
            api_keys: live.api_keys.len(),
            jwks: [live.jwks[0].is_some(), live.jwks[1].is_some()],
        }
    }
}

impl Reloader {
    /// Reads the configuration again and puts it in force. The notes say what needs a restart.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    pub(crate) async fn reload(&self) -> Result<Vec<String>, Failure> {
        let _turn = self.turn.lock().await;
        service::reloading();
        let result = self.try_reload().await;
        service::ready();
        self.state.reloaded(result.is_ok());
        let file = name_of(self.args.config.as_deref());
        match &result {
            Ok(notes) => {
                info!(file, "configuration reloaded");
                notes.iter().for_each(|note| warn!(file, "{note}"));
            }
            Err(failure) => {
                error!(
                    file,
                    error = failure.line,
                    "configuration not reloaded; the old one stays in force"
                );
            }
        }
        result
    }

    async fn try_reload(&self) -> Result<Vec<String>, Failure> {
        let asked = Settings::load(&self.args)?;
        let notes = self.notes(&asked);
        if asked.dev != self.started.dev {
            return Err(Failure::usage(
                "development mode cannot be switched on or off while the server runs; restart it",
            ));
        }
        // What depends on the address is judged by the one that is listened on.
        let settings = match asked.listen == self.started.listen {
            true => asked,
            false => Settings::load(&ServeArgs {
                listen: Some(self.started.listen),
                ..self.args.clone()
            })?,
        };
        let live = settings.live;
        if live.tls.is_some() != self.certificates.is_some() {
            return Err(Failure::usage(
                "TLS cannot be switched on or off while the server runs; restart it",
            ));
        }
        // Everything is checked: from here on nothing is refused any more.
        if let (Some(switch), Some(tls)) = (&self.certificates, &live.tls) {
            switch.set(tls);
        }
        self.log.set(&live.log)?;
        *self.in_force() = InForce::of(&live);
        self.names.set(live.door.hosts.clone());
        self.api.set_rules(live.api_keys, live.api_body);
        self.access.set_token(live.admin_token);
        self.tell_workers(&live.door).await;
        let hub = self.keyring.set_base(&self.hub, live.hub, live.jwks).await;
        let busy = "a worker is busy and keeps the old namespaces and tokens; reload again";
        Ok(notes
            .into_iter()
            .chain(hub.is_err().then(|| busy.to_owned()))
            .collect())
    }

    /// What has changed and needs a restart.
    fn notes(&self, settings: &Settings) -> Vec<String> {
        let started = &self.started;
        let asked_admin = settings.admin.map(|admin| admin.address);
        let same_admin = match (asked_admin, started.admin) {
            (Some(asked), Some(bound)) => asked == bound || asked.port() == 0,
            (asked, bound) => asked.is_none() && bound.is_none(),
        };
        // A default port that was taken at the start is no change of the configuration.
        let same_admin = same_admin || settings.admin.is_some_and(|admin| !admin.asked_for);
        let rows = [
            (settings.listen == started.listen, "listen"),
            (settings.workers == started.workers, "workers"),
            (same_admin, "admin.listen"),
        ];
        rows.into_iter()
            .filter(|(same, _)| !same)
            .map(|(_, what)| format!("{what} has changed; that needs a restart"))
            .collect()
    }

    async fn tell_workers(&self, rules: &Arc<DoorRules>) {
        for n in 0..self.started.workers {
            let worker = WorkerId(u16::try_from(n).unwrap_or(u16::MAX));
            let mut told = false;
            for _ in 0..ATTEMPTS {
                told = self
                    .mailer
                    .post(worker, RoutesMail::Rules(Arc::clone(rules)))
                    .is_ok();
                if told {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if !told {
                warn!(
                    worker = n,
                    "a worker is busy and keeps the old limits and origins; reload again"
                );
            }
        }
    }

    /// How long a drain may take, as is in force.
    pub(crate) fn drain(&self) -> Duration {
        self.in_force().drain
    }

    fn in_force(&self) -> std::sync::MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the admin page.
    pub(crate) fn view(&self) -> Value {
        let now = self.in_force().clone();
        let admission = now.rules.admission;
        json!({
            "config": self.args.config.as_ref().map(|file| file.display().to_string()),
            "listen": self.started.address.to_string(),
            "admin": self.started.admin.map(|address| address.to_string()),
            "workers": self.started.workers,
            "development": self.started.dev,
            "tls": self.certificates.is_some(),
            "allowed_origins": match &now.rules.origins {
                OriginPolicy::SameOrigin => json!([]),
                OriginPolicy::Listed(list) => list.iter().map(ToString::to_string).collect(),
                OriginPolicy::Any => json!(["*"]),
            },
            "trusted_proxies": now.rules.proxies.networks().collect::<Vec<_>>(),
            "proxy_header": now.rules.proxies.field().name(),
            "drain": {
                "deadline": now.drain.as_secs_f64(),
                "window": now.rules.pace.window.as_secs_f64(),
                "per_second": now.rules.pace.per_second,
            },
            "api_keys": now.api_keys,
            "jwks": now.jwks,
            "connections": admission.connections,
            "connections_per_ip": admission.per_ip,
            "handshakes": admission.handshakes.map(|(per_second, burst)| {
                json!({ "per_second": per_second, "burst": burst })
            }),
        })
    }
}

const ATTEMPTS: u32 = 20;
