//! Results of the HTTP API as JSON. Data and infos are JSON already and are put in as they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use tidegate_hub::{
    ChannelInfo, ClientInfo, ClientSummary, Position, PresenceStats, Publication, Slice,
    WorkerStats,
};

/// Nothing to tell.
pub(super) fn nothing() -> String {
    "{}".to_owned()
}

/// Where a publication stands.
pub(super) fn position(position: Position) -> String {
    match position.offset {
        0 => nothing(),
        offset => format!(r#"{{"offset":{offset},"epoch":"{}"}}"#, position.epoch),
    }
}

/// A part of a history.
pub(super) fn history(slice: &Slice) -> String {
    let mut text = String::from(r#"{"publications":["#);
    for (n, one) in slice.publications.iter().enumerate() {
        text.push_str(if n == 0 { "" } else { "," });
        push_publication(&mut text, one);
    }
    let position = slice.position;
    let _ = write!(
        text,
        r#"],"offset":{},"epoch":"{}"}}"#,
        position.offset, position.epoch
    );
    text
}

fn push_publication(text: &mut String, one: &Publication) {
    if one.is_json() {
        return text.push_str(&one.dated_json());
    }
    let data = STANDARD.encode(one.octets());
    let _ = write!(
        text,
        r#"{{"data":null,"b64data":"{data}","offset":{},"time":{}}}"#,
        one.offset(),
        one.at().unix_millis()
    );
}

/// Who is there, by client id.
pub(super) fn presence(list: &[Arc<ClientInfo>]) -> String {
    let mut text = String::from(r#"{"presence":{"#);
    for (n, info) in list.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(text, r#"{comma}"{}":{}"#, info.client(), info.json());
    }
    text.push_str("}}");
    text
}

/// How many are there.
pub(super) fn presence_stats(stats: PresenceStats) -> String {
    json!({ "num_clients": stats.clients, "num_users": stats.users }).to_string()
}

/// Channels with subscribers, by name.
pub(super) fn channels(list: &[ChannelInfo]) -> String {
    let by_name: Map<String, Value> = list
        .iter()
        .map(|one| (one.channel.clone(), json!({ "num_clients": one.clients })))
        .collect();
    json!({ "channels": by_name }).to_string()
}

/// Connections, by client id.
pub(super) fn connections(list: &[ClientSummary]) -> String {
    let by_client: Map<String, Value> = list
        .iter()
        .map(|one| {
            let channels: Map<String, Value> = one
                .channels
                .iter()
                .map(|(name, _)| (name.clone(), json!({})))
                .collect();
            let about = json!({
                "app_name": "",
                "app_version": "",
                "transport": "websocket",
                "protocol": one.form,
                "user": one.user,
                "state": { "channels": channels },
            });
            (one.client.clone(), about)
        })
        .collect();
    json!({ "connections": by_client }).to_string()
}

/// This server, the only node.
pub(super) fn info(node: &NodeInfo<'_>, total: &WorkerStats) -> String {
    json!({ "nodes": [{
        "uid": node.uid,
        "name": node.name,
        "version": env!("CARGO_PKG_VERSION"),
        "num_clients": total.clients,
        "num_users": total.users,
        "num_subs": total.subscriptions,
        "num_channels": total.home_channels,
        "uptime": node.uptime,
        "process": { "cpu": node.cpu, "rss": node.rss },
    }] })
    .to_string()
}

/// What is told of the node beside its counts.
pub(super) struct NodeInfo<'a> {
    pub(super) uid: &'a str,
    pub(super) name: &'a str,
    /// In seconds.
    pub(super) uptime: u64,
    /// Of one core, in percent, since the last look.
    pub(super) cpu: f64,
    /// In bytes.
    pub(super) rss: u64,
}
