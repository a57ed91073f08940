//! The HTTP API: what a backend asks of the hub, in the form that `cent` and its like speak. It reaches the
//! hub by mail only; who may ask is decided by `door`.

mod door;
mod error;
mod params;
mod write;

pub(crate) use door::{Door, read_body, reply};
pub(crate) use error::ApiError;

use super::process::Process;
use params::{Batch, Channel, Channels, History, Publish, Revoke, Since, User};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidegate_hub::{
    Disconnect, Hub, HubError, Page, Position, Refreshed, Revocation, ServerSubscribe,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Carries out the methods.
pub(crate) struct Api {
    hub: Hub,
    process: Arc<Process>,
}

/// The JSON of a result, or why there is none.
pub(crate) type Outcome = Result<String, ApiError>;

impl Api {
    /// The methods of this hub.
    pub(crate) fn new(hub: Hub, process: Arc<Process>) -> Api {
        Api { hub, process }
    }

    /// Carries one method out. Not cancel-safe: dropped half-way, the hub may have done it.
    pub(crate) async fn call(&self, method: &str, params: &str) -> Outcome {
        match method {
            "publish" => self.publish(&read(params)?).await,
            "broadcast" => self.broadcast(&read(params)?).await,
            "subscribe" => self.subscribe(&read(params)?).await,
            "unsubscribe" => self.unsubscribe(&read(params)?).await,
            "disconnect" => self.disconnect(&read(params)?).await,
            "refresh" => self.refresh(&read(params)?).await,
            "presence" => self.presence(&read(params)?).await,
            "presence_stats" => self.presence_stats(&read(params)?).await,
            "history" => self.history(&read(params)?).await,
            "history_remove" => self.history_remove(&read(params)?).await,
            "channels" => self.channels(&read(params)?).await,
            "connections" => self.connections(&read(params)?).await,
            "info" => self.info().await,
            "revoke_token" => self.revoke(&read(params)?, true).await,
            "invalidate_user_tokens" => self.revoke(&read(params)?, false).await,
            "batch" => self.batch(params).await,
            other => Err(ApiError::no_method(other)),
        }
    }

    async fn publish(&self, asked: &Publish) -> Outcome {
        let channel = asked.channel.as_deref();
        let channel = channel.ok_or_else(|| ApiError::bad("channel is missing"))?;
        let outgoing = asked.outgoing()?;
        self.known(channel)?;
        let position: Position = ask(|reply| self.hub.publish(channel, outgoing, reply)).await?;
        Ok(write::position(position))
    }

    /// Every channel has its own response, in the order given.
    async fn broadcast(&self, asked: &Publish) -> Outcome {
        if asked.channels.is_empty() {
            return Err(ApiError::bad("channels is missing"));
        }
        if asked.channels.len() > MAX_CHANNELS {
            return Err(ApiError::bad("at most 10000 channels at once"));
        }
        let outgoing = asked.outgoing()?;
        let known: Vec<Result<(), ApiError>> =
            asked.channels.iter().map(|name| self.known(name)).collect();
        let taken: Vec<String> = asked
            .channels
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_ok())
            .map(|(name, _)| name.clone())
            .collect();
        let positions = match taken.is_empty() {
            true => Vec::new(),
            false => {
                ask(|reply| {
                    self.hub
                        .broadcast(&taken, outgoing, move |results| reply(Ok(results)));
                })
                .await?
            }
        };
        let mut positions = positions.into_iter();
        let responses: Vec<String> = known
            .into_iter()
            .map(|known| {
                let position = known.and_then(|()| {
                    let result = positions.next().unwrap_or(Err(HubError::Busy));
                    result.map_err(ApiError::from)
                });
                match position {
                    Ok(position) => format!(r#"{{"result":{}}}"#, write::position(position)),
                    Err(error) => format!(r#"{{"error":{}}}"#, error.json()),
                }
            })
            .collect();
        Ok(format!(r#"{{"responses":[{}]}}"#, responses.join(",")))
    }

    async fn subscribe(&self, asked: &User) -> Outcome {
        let (target, channel) = (asked.target()?, asked.channel()?);
        self.known(channel)?;
        let options = ServerSubscribe {
            info: asked.info()?,
            data: asked.data()?,
            expire_at: asked.expire_at(),
            recover_since: asked
                .recover_since
                .as_ref()
                .map(|since| (since.offset, since.epoch.clone())),
        };
        ask(|reply| self.hub.subscribe(target, channel, options, reply)).await?;
        Ok(write::nothing())
    }

    async fn unsubscribe(&self, asked: &User) -> Outcome {
        let (target, channel) = (asked.target()?, asked.channel()?);
        ask(|reply| self.hub.unsubscribe(target, channel, UNSUBSCRIBED, reply)).await?;
        Ok(write::nothing())
    }

    async fn disconnect(&self, asked: &User) -> Outcome {
        let target = asked.target()?;
        let why = match &asked.disconnect {
            Some(why) if why.code != 0 => Disconnect {
                code: why.code,
                reason: why.reason.clone().into(),
            },
            _ => Disconnect {
                code: 3503,
                reason: "force disconnect".into(),
            },
        };
        if !(3_000..5_000).contains(&why.code) || why.reason.len() > 123 {
            return Err(ApiError::bad(
                "a code is 3000 to 4999, a reason at most 123 bytes",
            ));
        }
        ask(|reply| self.hub.disconnect(target, why, reply)).await?;
        Ok(write::nothing())
    }

    async fn refresh(&self, asked: &User) -> Outcome {
        let target = asked.target()?;
        let refreshed = match (asked.expired, asked.expire_at()) {
            (true, _) => Refreshed::Expired,
            (false, Some(at)) => Refreshed::Until(at),
            (false, None) => Refreshed::Forever,
        };
        ask(|reply| self.hub.refresh(target, refreshed, reply)).await?;
        Ok(write::nothing())
    }

    async fn presence(&self, asked: &Channel) -> Outcome {
        self.known(&asked.channel)?;
        let list = ask(|reply| self.hub.presence(&asked.channel, reply)).await?;
        Ok(write::presence(&list))
    }

    async fn presence_stats(&self, asked: &Channel) -> Outcome {
        self.known(&asked.channel)?;
        let stats = ask(|reply| self.hub.presence_stats(&asked.channel, reply)).await?;
        Ok(write::presence_stats(stats))
    }

    /// Without a limit only the position is told; -1 is all there is.
    async fn history(&self, asked: &History) -> Outcome {
        self.known(&asked.channel)?;
        let epoch = asked
            .since
            .as_ref()
            .map(|since: &Since| since.epoch.as_str());
        let page = Page {
            since: asked.since.as_ref().map(|since| since.offset),
            limit: match asked.limit.unwrap_or(0) {
                all if all < 0 => None,
                some => Some(usize::try_from(some).unwrap_or(usize::MAX)),
            },
            reverse: asked.reverse,
        };
        let epoch = epoch.filter(|epoch| !epoch.is_empty());
        let slice = ask(|reply| self.hub.history(&asked.channel, epoch, page, reply)).await?;
        Ok(write::history(&slice))
    }

    async fn history_remove(&self, asked: &Channel) -> Outcome {
        self.known(&asked.channel)?;
        ask(|reply| self.hub.history_remove(&asked.channel, reply)).await?;
        Ok(write::nothing())
    }

    async fn channels(&self, asked: &Channels) -> Outcome {
        let pattern = asked
            .pattern
            .as_deref()
            .filter(|pattern| !pattern.is_empty());
        let limit = asked.limit.unwrap_or(MAX_CHANNELS).min(MAX_CHANNELS);
        let list = ask(|reply| self.hub.channels(pattern, limit, reply)).await?;
        Ok(write::channels(&list))
    }

    async fn connections(&self, asked: &User) -> Outcome {
        let user = Some(asked.user.as_str()).filter(|user| !user.is_empty());
        let list = ask(|reply| self.hub.clients(user, false, MAX_CONNECTIONS, reply)).await?;
        Ok(write::connections(&list))
    }

    async fn info(&self) -> Outcome {
        let stats = ask(|reply| self.hub.stats(reply)).await?;
        let config = self.hub.config();
        let node = write::NodeInfo {
            uid: self.process.id(),
            name: &config.node,
            uptime: self.process.uptime().as_secs(),
            cpu: self.process.cpu_percent(),
            rss: self.process.memory(),
        };
        Ok(write::info(&node, &stats.total()))
    }

    async fn revoke(&self, asked: &Revoke, one_token: bool) -> Outcome {
        let revocation = match (one_token, &asked.uid, &asked.user) {
            (true, Some(uid), _) if !uid.is_empty() => Revocation {
                token: Some(uid.clone()),
                until: asked.until(),
                ..Revocation::default()
            },
            (false, _, Some(user)) if !user.is_empty() => Revocation {
                user: Some(user.clone()),
                issued_before: asked.issued_before(),
                until: asked.until(),
                ..Revocation::default()
            },
            (true, ..) => return Err(ApiError::bad("uid is missing")),
            (false, ..) => return Err(ApiError::bad("user is missing")),
        };
        ask(|reply| self.hub.revoke(revocation, reply)).await?;
        Ok(write::nothing())
    }

    /// One after the other, or, if asked for, all at once; replies stand in the order of the commands.
    fn batch<'a>(&'a self, params: &'a str) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(async move {
            let batch: Batch = read(params)?;
            if batch.commands.len() > MAX_BATCH {
                return Err(ApiError::bad("at most 1000 commands in a batch"));
            }
            let mut replies = Vec::with_capacity(batch.commands.len());
            if batch.parallel {
                let calls = batch
                    .commands
                    .iter()
                    .map(|command| self.one_of_batch(command));
                replies = futures_util::future::join_all(calls).await;
            } else {
                for command in &batch.commands {
                    replies.push(self.one_of_batch(command).await);
                }
            }
            Ok(format!(r#"{{"replies":[{}]}}"#, replies.join(",")))
        })
    }

    async fn one_of_batch(&self, command: &BTreeMap<String, Box<RawValue>>) -> String {
        let outcome = match (command.len(), command.first_key_value()) {
            (1, Some((method, _))) if method == "batch" => {
                Err(ApiError::bad("a batch in a batch is not taken"))
            }
            (1, Some((method, params))) => self
                .call(method, params.get())
                .await
                .map(|result| format!(r#"{{"{method}":{result}}}"#)),
            _ => Err(ApiError::bad("a command is an object with one method")),
        };
        outcome.unwrap_or_else(|error| format!(r#"{{"error":{}}}"#, error.json()))
    }

    /// Whether the channel's namespace exists. The backend is trusted, but a typing error should not open
    /// a channel that nobody can subscribe to.
    fn known(&self, channel: &str) -> Result<(), ApiError> {
        let topic = tidegate_hub::TopicName::parse(channel)
            .map_err(|_| ApiError::from(HubError::BadName))?;
        match self.hub.config().namespaces.options(&topic) {
            Some(_) => Ok(()),
            None => Err(HubError::Refused(tidegate_hub::ClientError::UNKNOWN_CHANNEL).into()),
        }
    }
}

fn read<T: DeserializeOwned>(params: &str) -> Result<T, ApiError> {
    let params = if params.trim().is_empty() {
        "{}"
    } else {
        params
    };
    serde_json::from_str(params).map_err(|error| ApiError::bad(format!("bad request: {error}")))
}

/// Waits for the hub's answer, but not for ever: a worker may be busy.
pub(super) async fn ask<T: Send + 'static>(
    start: impl FnOnce(Box<dyn FnOnce(Result<T, HubError>) + Send>),
) -> Result<T, HubError> {
    let (reply, answer) = oneshot::channel();
    start(Box::new(move |result| {
        // Nobody may wait any more.
        let _ = reply.send(result);
    }));
    match timeout(PATIENCE, answer).await {
        Ok(Ok(result)) => result,
        _ => Err(HubError::Busy),
    }
}

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The usual code of an unsubscribe by the server.
const UNSUBSCRIBED: u16 = 2000;

const MAX_CHANNELS: usize = 10_000;
const MAX_CONNECTIONS: usize = 10_000;
const MAX_BATCH: usize = 1_000;
