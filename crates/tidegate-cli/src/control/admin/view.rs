//! What the admin page shows of the configuration and of clients, as JSON. It never holds a secret or a payload.

use crate::control::reload::Reloader;
use serde_json::{Map, Value, json};
use tidegate_hub::{ClientSummary, Hub, Namespace, Rate, Slow};

/// The configuration in force.
pub(super) fn config(hub: &Hub, reloader: &Reloader) -> String {
    let config = hub.config();
    let namespaces: Map<String, Value> = config
        .namespaces
        .iter()
        .map(|(name, options)| (name.to_owned(), namespace(options)))
        .collect();
    let keys = |keys: &Option<tidegate_hub::TokenKeys>| {
        keys.as_ref().map(|keys| {
            let (given, fetched) = keys.count();
            json!({ "keys": given, "fetched_keys": fetched })
        })
    };
    let seconds = |wait: std::time::Duration| wait.as_secs_f64();
    json!({
        "schema": 1,
        "server": reloader.view(),
        "clients": {
            "anonymous": config.anonymous,
            "development": config.dev,
            "personal_namespace": config.personal,
            "ping": seconds(config.ping),
            "pong": seconds(config.pong),
            "connect": seconds(config.connect),
            "expired_grace": seconds(config.expired_grace),
            "no_progress": seconds(config.no_progress),
            "command_rate": config.command_rate.map(rate),
        },
        "tokens": keys(&config.tokens),
        "subscription_tokens": keys(&config.subscription_tokens),
        "limits": {
            "message_size": config.connection.limits.max_message_size,
            "outbox": config.connection.limits.outbox,
            "channels_per_client": config.limits.channels,
            "history_per_channel": config.limits.topic_history,
            "history_per_worker": config.limits.worker_history,
            "channels_per_worker": config.limits.streams,
            "remember": seconds(config.limits.remember),
            "presence_reply": config.limits.presence,
        },
        "namespaces": namespaces,
    })
    .to_string()
}

fn namespace(options: &Namespace) -> Value {
    let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    json!({
        "history_size": options.history_size,
        "history_ttl": options.history_ttl.as_secs_f64(),
        "recovery": word(&options.recovery),
        "presence": options.presence,
        "presence_by": word(&options.presence_by),
        "leave_grace": options.leave_grace.as_secs_f64(),
        "join_leave": word(&options.join_leave),
        "join_leave_batch": options.join_leave_batch.as_secs_f64(),
        "join_leave_limit": options.join_leave_limit,
        "subscribe": word(&options.subscribe),
        "publish": word(&options.publish),
        "read_history": word(&options.read_history),
        "see_presence": word(&options.see_presence),
        "publisher": options.publisher,
        "binary": options.binary,
        "publish_rate": options.publish_rate.map(rate),
        "delivery": {
            "conflate": options.delivery.conflate,
            "max_hz": options.delivery.max_hz,
            "key": options.delivery.key,
            "slow": match options.delivery.slow {
                Slow::Close => "close".to_owned(),
                Slow::Conflate { hz } => format!("conflate at {hz} Hz"),
            },
        },
    })
}

fn rate(rate: Rate) -> Value {
    json!({ "per_second": rate.per_second, "burst": rate.burst })
}

/// Connections.
pub(super) fn clients(list: &[ClientSummary]) -> String {
    let clients: Vec<Value> = list
        .iter()
        .map(|one| {
            let channels: Vec<Value> = one
                .channels
                .iter()
                .take(MAX_SHOWN)
                .map(|(name, mode)| json!({ "channel": name, "delivery": mode }))
                .collect();
            json!({
                "client": one.client,
                "user": one.user,
                "worker": one.worker,
                "since": one.since.unix_millis(),
                "form": one.form,
                "queued": one.queued,
                "slow_seconds": one.slow_for.map(|slow| slow.as_secs_f64()),
                "subscriptions": one.channels.len(),
                "channels": channels,
            })
        })
        .collect();
    json!({ "schema": 1, "clients": clients }).to_string()
}

/// Channels shown of one client.
const MAX_SHOWN: usize = 16;
