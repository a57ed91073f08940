//! The JSON spelling of the client protocol: commands in, replies and pushes out. It decides nothing.
//!
//! A message holds one or more objects; what separates them is white space, a line break as a rule.
//!
//! What is wrong, and what becomes of it:
//!
//! | input                                                           | answer       |
//! |-----------------------------------------------------------------|--------------|
//! | not JSON, not an object, `id` not a number from 0 to 2^32-1     | close 3501   |
//! | a command without an `id` that is neither `send` nor a pong     | close 3501   |
//! | an empty message                                                | close 3501   |
//! | an `id`, but no command that we know, or more than one          | error 107    |
//! | an `id` and a command whose fields are missing or of wrong type | error 107    |
//!
//! Fields we do not know are skipped, as the protocol grows by adding some.

use crate::command::{Command, HistoryOf, Json, Subscribe};
use crate::history::Recovery;
use crate::publication::ClientInfo;
use crate::reply::{ClientError, Connected, Reply, Subscribed, Unsubscribed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;

/// A command with its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbered<'a> {
    /// Chosen by the client; 0 only for pongs and `send`.
    pub id: u32,
    /// The command, or why it makes no sense.
    pub command: Result<Command<'a>, ClientError>,
}

/// The message cannot be understood: the connection is closed with 3501.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadFrame;

/// Reads the commands of a message, one by one. Linear in the length of the message, and without
/// recursion, however deep it is nested. After an error there is nothing more.
pub fn commands(message: &str) -> impl Iterator<Item = Result<Numbered<'_>, BadFrame>> {
    let mut objects = serde_json::Deserializer::from_str(message).into_iter::<Envelope<'_>>();
    let mut over = false;
    let mut empty = true;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let rest = &message[objects.byte_offset()..];
        let item = match objects.next() {
            Some(Ok(envelope)) if is_object(rest) => envelope.open(),
            Some(Ok(_)) => Err(BadFrame),
            Some(Err(_)) => Err(BadFrame),
            None if empty => Err(BadFrame),
            None => return None,
        };
        over = item.is_err();
        empty = false;
        Some(item)
    })
}

/// For fuzzing: reads all commands of arbitrary octets, as a session does, and returns how many there
/// were. It never panics.
pub fn fuzz_commands(message: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(message) else {
        return 0;
    };
    let mut count = 0;
    for item in commands(text) {
        if let Ok(Numbered {
            command: Ok(command),
            ..
        }) = &item
        {
            if let Command::Publish { data, .. } = command {
                let _ = crate::publication::RawJson::from_value(data.0);
            }
            if let Command::Subscribe(Subscribe { channel, .. }) = command {
                let _ = crate::topic::TopicName::parse(channel);
            }
        }
        count += usize::from(item.is_ok());
    }
    count
}

/// Whether well-formed JSON is an object. (Derived readers would take an array of the fields too.)
fn is_object(json: &str) -> bool {
    json.trim_ascii_start().starts_with('{')
}

/// How deep arrays and objects are nested in a text that is well-formed JSON.
pub(crate) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// A command object, its fields still unread.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    id: u32,
    #[serde(borrow, default)]
    connect: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subscribe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    unsubscribe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    publish: Option<&'a RawValue>,
    #[serde(borrow, default)]
    presence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    presence_stats: Option<&'a RawValue>,
    #[serde(borrow, default)]
    history: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ping: Option<&'a RawValue>,
    #[serde(borrow, default)]
    send: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rpc: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refresh: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sub_refresh: Option<&'a RawValue>,
}

type Read<'a> = fn(&'a str) -> serde_json::Result<Command<'a>>;

impl<'a> Envelope<'a> {
    fn open(self) -> Result<Numbered<'a>, BadFrame> {
        let known: [(Option<&'a RawValue>, Read<'a>); 12] = [
            (self.connect, read_connect),
            (self.subscribe, read_subscribe),
            (self.unsubscribe, |t| {
                of(t, |channel| Command::Unsubscribe { channel })
            }),
            (self.publish, read_publish),
            (self.presence, |t| {
                of(t, |channel| Command::Presence { channel })
            }),
            (self.presence_stats, |t| {
                of(t, |channel| Command::PresenceStats { channel })
            }),
            (self.history, read_history),
            (self.ping, |t| nothing(t, Command::Ping)),
            (self.send, |t| nothing(t, Command::Send)),
            (self.rpc, read_rpc),
            (self.refresh, |t| nothing(t, Command::Refresh)),
            (self.sub_refresh, |t| nothing(t, Command::Refresh)),
        ];
        let mut given = known
            .into_iter()
            .filter_map(|(value, read)| value.map(|value| (value, read)));
        let id = self.id;
        match (given.next(), given.next()) {
            (None, _) if id == 0 => Ok(Numbered {
                id,
                command: Ok(Command::Pong),
            }),
            (Some(_), _) if id == 0 && self.send.is_none() => Err(BadFrame),
            (Some((value, read)), None) => {
                let command = match read(value.get()) {
                    Ok(command) if is_object(value.get()) => Ok(command),
                    _ => Err(ClientError::BAD_REQUEST),
                };
                Ok(Numbered { id, command })
            }
            _ if id == 0 => Err(BadFrame),
            _ => Ok(Numbered {
                id,
                command: Err(ClientError::BAD_REQUEST),
            }),
        }
    }
}

#[derive(Deserialize)]
struct ConnectFields<'a> {
    #[serde(borrow, default)]
    token: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn read_connect(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: ConnectFields<'_> = serde_json::from_str(text)?;
    Ok(Command::Connect {
        has_token: !fields.token.is_empty(),
        data: fields.data.map(Json),
    })
}

#[derive(Deserialize)]
struct SubscribeFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(default)]
    recover: bool,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
    #[serde(default)]
    offset: u64,
    #[serde(borrow, default)]
    tf: Option<&'a RawValue>,
    #[serde(default)]
    flag: i64,
    #[serde(default, rename = "type")]
    kind: i32,
}

/// The flag by which a client asks for error 112.
const REJECT_UNRECOVERED: i64 = 2;

fn read_subscribe(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: SubscribeFields<'_> = serde_json::from_str(text)?;
    Ok(Command::Subscribe(Subscribe {
        channel: fields.channel,
        recover: fields.recover.then_some((fields.offset, fields.epoch)),
        reject_unrecovered: fields.flag & REJECT_UNRECOVERED != 0,
        unavailable: fields.tf.is_some() || fields.kind != 0,
    }))
}

#[derive(Deserialize)]
struct PublishFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn read_publish(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: PublishFields<'_> = serde_json::from_str(text)?;
    Ok(Command::Publish {
        channel: fields.channel,
        data: Json(fields.data),
    })
}

#[derive(Deserialize)]
struct SinceFields<'a> {
    #[serde(default)]
    offset: u64,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
}

#[derive(Deserialize)]
struct HistoryFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(default)]
    limit: i32,
    #[serde(borrow, default)]
    since: Option<SinceFields<'a>>,
    #[serde(default)]
    reverse: bool,
}

fn read_history(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: HistoryFields<'_> = serde_json::from_str(text)?;
    Ok(Command::History(HistoryOf {
        channel: fields.channel,
        limit: fields.limit,
        since: fields.since.map(|since| (since.offset, since.epoch)),
        reverse: fields.reverse,
    }))
}

#[derive(Deserialize)]
struct RpcFields<'a> {
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn read_rpc(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: RpcFields<'_> = serde_json::from_str(text)?;
    Ok(Command::Rpc {
        method: fields.method,
        data: fields.data.map(Json),
    })
}

#[derive(Deserialize)]
struct ChannelField<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

fn of<'a>(
    text: &'a str,
    make: impl Fn(Cow<'a, str>) -> Command<'a>,
) -> serde_json::Result<Command<'a>> {
    serde_json::from_str::<ChannelField<'a>>(text).map(|fields| make(fields.channel))
}

#[derive(Deserialize)]
struct NoFields {}

fn nothing<'a>(text: &'a str, command: Command<'a>) -> serde_json::Result<Command<'a>> {
    serde_json::from_str::<NoFields>(text).map(|_| command)
}

/// Appends a string in quotes.
pub(crate) fn quote(out: &mut String, text: &str) {
    let plain = text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\');
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a str has a JSON form"));
    }
}

/// Appends the reply to the command `id`.
pub(crate) fn write_reply(out: &mut String, id: u32, reply: &Reply<'_>) {
    let _ = write!(out, "{{\"id\":{id},"); // writing to a String cannot fail
    match reply {
        Reply::Connected(result) => write_connected(out, result),
        Reply::Subscribed(result) => write_subscribed(out, result),
        Reply::Unsubscribed => out.push_str("\"unsubscribe\":{}"),
        Reply::Published => out.push_str("\"publish\":{}"),
        Reply::Presence(clients) => {
            out.push_str("\"presence\":");
            write_presence(out, clients);
        }
        Reply::PresenceStats(stats) => {
            let _ = write!(
                out,
                "\"presence_stats\":{{\"num_clients\":{},\"num_users\":{}}}",
                stats.clients, stats.users
            );
        }
        Reply::History(slice) => {
            out.push_str("\"history\":");
            write_slice(out, slice);
        }
        Reply::Pong => out.push_str("\"ping\":{}"),
        Reply::Rpc(data) => {
            let _ = write!(out, "\"rpc\":{{\"data\":{data}}}");
        }
        Reply::Error(error) => write_error(out, error),
    }
    out.push('}');
}

fn write_connected(out: &mut String, result: &Connected<'_>) {
    out.push_str("\"connect\":{\"client\":");
    quote(out, result.client);
    out.push_str(",\"version\":");
    quote(out, result.version);
    let _ = write!(
        out,
        ",\"ping\":{},\"pong\":true,\"session\":",
        result.ping_seconds
    );
    quote(out, result.session);
    out.push_str(",\"node\":");
    quote(out, result.node);
    out.push('}');
}

fn write_subscribed(out: &mut String, result: &Subscribed) {
    out.push_str("\"subscribe\":{");
    let mut comma = "";
    if let Some(position) = result.position {
        if result.recoverable {
            out.push_str("\"recoverable\":true,");
        }
        // After a recovery the offset is the one the client named: the publications move it on.
        let offset = match &result.recovery {
            Some((since, Recovery::Complete(_))) => *since,
            _ => position.offset,
        };
        let _ = write!(
            out,
            "\"positioned\":true,\"epoch\":\"{}\",\"offset\":{offset}",
            position.epoch
        );
        comma = ",";
    }
    match &result.recovery {
        Some((_, Recovery::Complete(missed))) => {
            let _ = write!(out, "{comma}\"was_recovering\":true,\"recovered\":true");
            if !missed.is_empty() {
                out.push_str(",\"publications\":");
                write_list(out, missed.iter().map(|publication| publication.json()));
            }
        }
        Some((_, Recovery::Lost)) => {
            let _ = write!(out, "{comma}\"was_recovering\":true");
        }
        None => {}
    }
    out.push('}');
}

/// Appends `{"presence":{client: info, …}}`.
pub fn write_presence(out: &mut String, clients: &[impl AsRef<ClientInfo>]) {
    out.push_str("{\"presence\":{");
    for (n, info) in clients.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        quote(out, &info.as_ref().client());
        out.push(':');
        out.push_str(info.as_ref().json());
    }
    out.push_str("}}");
}

/// Appends a history result: `{"publications":[…],"epoch":"…","offset":…}`.
pub fn write_slice(out: &mut String, slice: &crate::history::Slice) {
    out.push_str("{\"publications\":");
    write_list(
        out,
        slice
            .publications
            .iter()
            .map(|publication| publication.json()),
    );
    let position = slice.position;
    let _ = write!(
        out,
        ",\"epoch\":\"{}\",\"offset\":{}}}",
        position.epoch, position.offset
    );
}

fn write_list<'a>(out: &mut String, items: impl Iterator<Item = &'a str>) {
    out.push('[');
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(item);
    }
    out.push(']');
}

fn write_error(out: &mut String, error: &ClientError) {
    let _ = write!(out, "\"error\":{{\"code\":{},\"message\":", error.code);
    quote(out, error.message);
    if error.temporary {
        out.push_str(",\"temporary\":true");
    }
    out.push('}');
}

/// The push that tells members of a channel who came.
pub(crate) fn join(channel: &str, info: &ClientInfo) -> String {
    came_or_went(channel, "join", info)
}

/// The push that tells members of a channel who went.
pub(crate) fn leave(channel: &str, info: &ClientInfo) -> String {
    came_or_went(channel, "leave", info)
}

fn came_or_went(channel: &str, what: &str, info: &ClientInfo) -> String {
    let mut out = String::from("{\"push\":{\"channel\":");
    quote(&mut out, channel);
    let _ = write!(out, ",\"{what}\":{{\"info\":{}}}}}}}", info.json());
    out
}

/// The push that ends a subscription.
pub(crate) fn unsubscribed(channel: &str, why: Unsubscribed) -> String {
    let mut out = String::from("{\"push\":{\"channel\":");
    quote(&mut out, channel);
    let _ = write!(out, ",\"unsubscribe\":{{\"code\":{},\"reason\":", why.code);
    quote(&mut out, why.reason);
    out.push_str("}}}");
    out
}

/// The hub's ping: an empty reply.
pub(crate) const PING: &str = "{}";

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
