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
//! | an `id`, but no command that we know                            | error 104    |
//! | an `id` and more than one command                               | error 107    |
//! | an `id` and a command whose fields are missing or of wrong type | error 107    |
//!
//! Fields we do not know are skipped, as the protocol grows by adding some.

use crate::command::{BadFrame, Command, Connect, Data, HistoryOf, Numbered, Subscribe};
use crate::publication::{ClientInfo, Publication, Tags};
use crate::reply::{ClientError, Connected, Push, Reply, Subscribed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

/// Reads the commands of a message, one by one. Linear in the length of the message, and without
/// recursion, however deep it is nested. After an error there is nothing more.
pub fn commands(message: &str) -> Commands<'_> {
    Commands {
        message,
        objects: serde_json::Deserializer::from_str(message).into_iter(),
        over: false,
        empty: true,
    }
}

/// See [`commands`].
pub struct Commands<'a> {
    message: &'a str,
    objects: serde_json::StreamDeserializer<'a, serde_json::de::StrRead<'a>, Envelope<'a>>,
    over: bool,
    empty: bool,
}

impl<'a> Commands<'a> {
    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a str {
        &self.message[self.objects.byte_offset()..]
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Numbered<'a>, BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let rest = self.rest();
        let item = match self.objects.next() {
            Some(Ok(envelope)) if is_object(rest) => envelope.open(),
            Some(_) => Err(BadFrame),
            None if self.empty => Err(BadFrame),
            None => return None,
        };
        self.over = item.is_err();
        self.empty = false;
        Some(item)
    }
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
                let _ = data.json();
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
            (self.refresh, read_refresh),
            (self.sub_refresh, read_sub_refresh),
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
            (None, _) => Ok(Numbered {
                id,
                command: Err(ClientError::METHOD_NOT_FOUND),
            }),
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
    #[serde(borrow, default)]
    subs: Option<BTreeMap<Cow<'a, str>, RecoverFields<'a>>>,
}

#[derive(Deserialize)]
struct RecoverFields<'a> {
    #[serde(default)]
    recover: bool,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
    #[serde(default)]
    offset: u64,
}

fn read_connect(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: ConnectFields<'_> = serde_json::from_str(text)?;
    let subs = fields.subs.into_iter().flatten();
    Ok(Command::Connect(Connect {
        token: fields.token,
        data: fields.data.map(Data::Json),
        recover: subs
            .filter(|(_, sub)| sub.recover)
            .map(|(channel, sub)| (channel, (sub.offset, sub.epoch)))
            .collect(),
    }))
}

#[derive(Deserialize)]
struct TokenFields<'a> {
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    token: Cow<'a, str>,
}

fn read_refresh(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: TokenFields<'_> = serde_json::from_str(text)?;
    Ok(Command::Refresh {
        token: fields.token,
    })
}

fn read_sub_refresh(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: TokenFields<'_> = serde_json::from_str(text)?;
    Ok(Command::SubRefresh {
        channel: fields.channel,
        token: fields.token,
    })
}

#[derive(Deserialize)]
struct SubscribeFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    token: Cow<'a, str>,
    #[serde(default)]
    recover: bool,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    join_leave: bool,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Cow<'a, str>,
    #[serde(borrow, default)]
    tf: Option<&'a RawValue>,
    #[serde(default)]
    flag: i64,
    #[serde(default, rename = "type")]
    kind: i32,
}

/// The flag by which a client asks for error 112.
pub(super) const REJECT_UNRECOVERED: i64 = 2;

fn read_subscribe(text: &str) -> serde_json::Result<Command<'_>> {
    let fields: SubscribeFields<'_> = serde_json::from_str(text)?;
    Ok(Command::Subscribe(Subscribe {
        channel: fields.channel,
        token: fields.token,
        recover: fields.recover.then_some((fields.offset, fields.epoch)),
        reject_unrecovered: fields.flag & REJECT_UNRECOVERED != 0,
        join_leave: fields.join_leave,
        data: fields.data.map(Data::Json),
        delta: !fields.delta.is_empty(),
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
        data: Data::Json(fields.data),
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
        data: fields.data.map(Data::Json),
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
        Reply::Refreshed {
            client,
            version,
            ttl,
        } => {
            out.push_str("\"refresh\":{\"client\":");
            quote(out, client);
            out.push_str(",\"version\":");
            quote(out, version);
            write_ttl(out, ",", *ttl);
            out.push('}');
        }
        Reply::SubRefreshed { ttl } => {
            out.push_str("\"sub_refresh\":{");
            write_ttl(out, "", *ttl);
            out.push('}');
        }
        Reply::Error(error) => write_error(out, error),
    }
    out.push('}');
}

/// Appends when something expires, with `comma` in front, or nothing if it does not.
fn write_ttl(out: &mut String, comma: &str, ttl: Option<u32>) {
    if let Some(ttl) = ttl {
        let _ = write!(out, "{comma}\"expires\":true,\"ttl\":{ttl}");
    }
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
    let _ = write!(out, ",\"time\":{}", result.time.unix_millis());
    write_ttl(out, ",", result.ttl);
    if !result.subs.is_empty() {
        out.push_str(",\"subs\":{");
        for (n, (topic, sub)) in result.subs.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            quote(out, topic.as_str());
            out.push(':');
            write_subscribed_object(out, sub);
        }
        out.push('}');
    }
    out.push('}');
}

fn write_subscribed(out: &mut String, result: &Subscribed) {
    out.push_str("\"subscribe\":");
    write_subscribed_object(out, result);
}

fn write_subscribed_object(out: &mut String, result: &Subscribed) {
    let mut fields = Fields::begin(out);
    write_position(&mut fields, result);
    if let Some((_, recovery)) = &result.recovery {
        fields.add("\"was_recovering\":true");
        if matches!(recovery, crate::history::Recovery::Complete(_)) {
            fields.add("\"recovered\":true");
        }
    }
    let publications = result.publications();
    if !publications.is_empty() {
        let out = fields.add("\"publications\":");
        match result.position {
            Some(_) => write_list(out, publications.iter().map(|one| one.json())),
            None => write_bare(out, publications),
        }
    }
    if let Some(ttl) = result.ttl {
        let _ = write!(fields.add("\"expires\":true,\"ttl\":"), "{ttl}");
    }
    fields.end();
}

/// What a subscribe result and a subscribe push have in common.
fn write_position(fields: &mut Fields<'_>, result: &Subscribed) {
    if let (Some(position), Some(offset)) = (result.position, result.offset()) {
        if result.recoverable {
            fields.add("\"recoverable\":true");
        }
        let out = fields.add("\"positioned\":true");
        let _ = write!(out, ",\"epoch\":\"{}\",\"offset\":{offset}", position.epoch);
    }
    if let Some(data) = &result.data {
        fields.add("\"data\":").push_str(data.as_str());
    }
}

/// An object's fields, with the commas between them.
struct Fields<'a> {
    out: &'a mut String,
    comma: &'static str,
}

impl<'a> Fields<'a> {
    fn begin(out: &'a mut String) -> Fields<'a> {
        out.push('{');
        Fields { out, comma: "" }
    }

    fn add(&mut self, text: &str) -> &mut String {
        self.out.push_str(self.comma);
        self.out.push_str(text);
        self.comma = ",";
        self.out
    }

    fn end(self) {
        self.out.push('}');
    }
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

/// Appends publications without their offsets.
fn write_bare(out: &mut String, publications: &[Publication]) {
    out.push('[');
    for (n, publication) in publications.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_object(out, &publication.sent_json(0, None));
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

/// A publication on its way to subscribers.
pub(crate) struct Sent<'a> {
    pub(crate) channel: &'a str,
    /// 0 for none.
    pub(crate) offset: u64,
    pub(crate) data: &'a str,
    pub(crate) info: Option<&'a ClientInfo>,
    pub(crate) tags: &'a Tags,
    /// One more tag.
    pub(crate) extra: Option<(&'a str, &'a str)>,
}

/// Appends the push of a publication; the answer is where its `Publication` object and its data stand.
pub(crate) fn write_publication(out: &mut String, sent: &Sent<'_>) -> (Range<usize>, Range<usize>) {
    let room = sent.data.len() + sent.channel.len() + sent.info.map_or(0, |i| i.json().len()) + 120;
    out.reserve(room);
    out.push_str("{\"push\":{\"channel\":");
    quote(out, sent.channel);
    out.push_str(",\"pub\":");
    let start = out.len();
    let data = write_object(out, sent);
    let object = start..out.len();
    out.push_str("}}");
    (object, data)
}

/// Appends a `Publication` object; the answer is where its data stand.
fn write_object(out: &mut String, sent: &Sent<'_>) -> Range<usize> {
    out.push_str("{\"data\":");
    let data_start = out.len();
    out.push_str(sent.data);
    let data = data_start..out.len();
    if let Some(info) = sent.info {
        out.push_str(",\"info\":");
        out.push_str(info.json());
    }
    if sent.offset > 0 {
        let _ = write!(out, ",\"offset\":{}", sent.offset);
    }
    write_tags(out, sent.tags, sent.extra);
    out.push('}');
    data
}

fn write_tags(out: &mut String, tags: &Tags, extra: Option<(&str, &str)>) {
    let tags = tags
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let mut opening = ",\"tags\":{";
    for (name, text) in tags.chain(extra) {
        out.push_str(opening);
        quote(out, name);
        out.push(':');
        quote(out, text);
        opening = ",";
    }
    if opening == "," {
        out.push('}');
    }
}

/// Appends a push.
pub(crate) fn write_push(out: &mut String, channel: &str, push: &Push) {
    out.push_str("{\"push\":{\"channel\":");
    quote(out, channel);
    match push {
        Push::Join(info) => {
            let _ = write!(out, ",\"join\":{{\"info\":{}}}", info.json());
        }
        Push::Leave(info) => {
            let _ = write!(out, ",\"leave\":{{\"info\":{}}}", info.json());
        }
        Push::Unsubscribed(why) => {
            let _ = write!(out, ",\"unsubscribe\":{{\"code\":{},\"reason\":", why.code);
            quote(out, why.reason);
            out.push('}');
        }
        Push::Subscribed(result) => {
            out.push_str(",\"subscribe\":");
            let mut fields = Fields::begin(out);
            write_position(&mut fields, result);
            fields.end();
        }
    }
    out.push_str("}}");
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
