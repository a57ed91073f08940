//! The protobuf spelling of the client protocol: commands in, replies and pushes out. It decides nothing.
//!
//! A message holds one or more protobuf messages, each with its length in front as a varint. The schema is
//! written from the protocol's field numbers; fields that the hub does not use are not named, and skipped.
//!
//! | input                                                       | answer       |
//! |-------------------------------------------------------------|--------------|
//! | not protobuf, a length that does not fit, an empty message  | close 3501   |
//! | a command without an `id` that is neither `send` nor a pong | close 3501   |
//! | an `id`, but no command that we know                        | error 104    |
//! | an `id` and more than one command                           | error 107    |

mod schema;

use crate::command::{BadFrame, Command, Connect, Data, HistoryOf, Numbered, Subscribe};
use crate::history::{Recovery, Slice};
use crate::publication::{ClientInfo, Publication, RawJson, Tags};
use crate::reply::{ClientError, Connected, Push, Reply, Subscribed};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use std::borrow::Cow;
use std::ops::Range;

/// Gives the commands of a message to `each`, one by one with what stands behind it, until it says stop
/// (false) or there is an error, which is the last it is given. Linear in the length of the message.
pub fn commands(
    mut message: &[u8],
    mut each: impl FnMut(Result<Numbered<'_>, BadFrame>, &[u8]) -> bool,
) {
    loop {
        let Some(one) = split(&mut message) else {
            each(Err(BadFrame), &[]);
            return;
        };
        let Ok(command) = schema::Command::decode(one) else {
            each(Err(BadFrame), &[]);
            return;
        };
        let numbered = open(&command);
        let last = numbered.is_err();
        if !each(numbered, message) || last || message.is_empty() {
            return;
        }
    }
}

/// For fuzzing: reads all commands of arbitrary octets, as a session does, and returns how many there
/// were. It never panics.
pub fn fuzz_commands(message: &[u8]) -> usize {
    let mut count = 0;
    commands(message, |item, _| {
        if let Ok(Numbered {
            command: Ok(Command::Publish { data, .. }),
            ..
        }) = &item
        {
            let _ = data.json();
        }
        count += usize::from(item.is_ok());
        true
    });
    count
}

/// Takes the next message with its length off the front.
fn split<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *message;
    let len = usize::try_from(prost::encoding::decode_varint(&mut rest).ok()?).ok()?;
    let one = rest.get(..len)?;
    *message = &rest[len..];
    Some(one)
}

fn open(command: &schema::Command) -> Result<Numbered<'_>, BadFrame> {
    let id = command.id;
    let mut given = given(command);
    let result = match (given.pop(), given.pop()) {
        (None, _) if id == 0 => Ok(Command::Pong),
        (Some(Command::Send), None) => Ok(Command::Send),
        _ if id == 0 => return Err(BadFrame),
        (Some(command), None) => Ok(command),
        (None, _) => Err(ClientError::METHOD_NOT_FOUND),
        _ => Err(ClientError::BAD_REQUEST),
    };
    Ok(Numbered {
        id,
        command: result,
    })
}

fn given(all: &schema::Command) -> Vec<Command<'_>> {
    fn text(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(text)
    }
    fn octets(octets: &[u8]) -> Option<Data<'_>> {
        (!octets.is_empty()).then_some(Data::Octets(octets))
    }
    let mut given = Vec::with_capacity(1);
    given.extend(all.connect.as_ref().map(|c| {
        Command::Connect(Connect {
            token: text(&c.token),
            data: octets(&c.data),
            recover: c
                .subs
                .iter()
                .filter(|(_, sub)| sub.recover)
                .map(|(name, sub)| (text(name), (sub.offset, text(&sub.epoch))))
                .collect(),
        })
    }));
    given.extend(all.subscribe.as_ref().map(|s| {
        Command::Subscribe(Subscribe {
            channel: text(&s.channel),
            token: text(&s.token),
            recover: s.recover.then(|| (s.offset, text(&s.epoch))),
            reject_unrecovered: s.flag & super::json::REJECT_UNRECOVERED != 0,
            join_leave: s.join_leave,
            data: octets(&s.data),
            delta: !s.delta.is_empty(),
            unavailable: s.tf.is_some() || s.kind != 0,
        })
    }));
    given.extend(all.unsubscribe.as_ref().map(|c| Command::Unsubscribe {
        channel: text(&c.channel),
    }));
    given.extend(all.publish.as_ref().map(|p| Command::Publish {
        channel: text(&p.channel),
        data: Data::Octets(&p.data),
    }));
    given.extend(all.presence.as_ref().map(|c| Command::Presence {
        channel: text(&c.channel),
    }));
    given.extend(all.presence_stats.as_ref().map(|c| Command::PresenceStats {
        channel: text(&c.channel),
    }));
    given.extend(all.history.as_ref().map(|h| {
        Command::History(HistoryOf {
            channel: text(&h.channel),
            limit: h.limit,
            since: h.since.as_ref().map(|s| (s.offset, text(&s.epoch))),
            reverse: h.reverse,
        })
    }));
    given.extend(all.ping.as_ref().map(|_| Command::Ping));
    given.extend(all.send.as_ref().map(|_| Command::Send));
    given.extend(all.rpc.as_ref().map(|r| Command::Rpc {
        method: text(&r.method),
        data: octets(&r.data),
    }));
    given.extend(all.refresh.as_ref().map(|r| Command::Refresh {
        token: text(&r.token),
    }));
    given.extend(all.sub_refresh.as_ref().map(|r| Command::SubRefresh {
        channel: text(&r.channel),
        token: text(&r.token),
    }));
    given
}

/// Appends the reply to the command `id`.
pub(crate) fn write_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    let mut message = schema::Reply {
        id,
        ..schema::Reply::default()
    };
    match reply {
        Reply::Connected(result) => message.connect = Some(connected(result)),
        Reply::Subscribed(result) => message.subscribe = Some(subscribed(result)),
        Reply::Unsubscribed => message.unsubscribe = Some(schema::Nothing {}),
        Reply::Published => message.publish = Some(schema::Nothing {}),
        Reply::Presence(clients) => {
            let entry = |i: &std::sync::Arc<ClientInfo>| (i.client(), client_info(i));
            message.presence = Some(schema::PresenceResult {
                presence: clients.iter().map(entry).collect(),
            });
        }
        Reply::PresenceStats(stats) => {
            message.presence_stats = Some(schema::PresenceStatsResult {
                num_clients: u32::try_from(stats.clients).unwrap_or(u32::MAX),
                num_users: u32::try_from(stats.users).unwrap_or(u32::MAX),
            });
        }
        Reply::History(slice) => message.history = Some(history(slice)),
        Reply::Pong => message.ping = Some(schema::Nothing {}),
        Reply::Rpc(data) => {
            message.rpc = Some(schema::DataOnly {
                data: data.as_bytes().to_vec(),
            });
        }
        Reply::Refreshed {
            client,
            version,
            ttl,
        } => {
            message.refresh = Some(schema::RefreshResult {
                client: client.clone(),
                version: (*version).to_owned(),
                expires: ttl.is_some(),
                ttl: ttl.unwrap_or(0),
            });
        }
        Reply::SubRefreshed { ttl } => {
            message.sub_refresh = Some(schema::Expiry {
                expires: ttl.is_some(),
                ttl: ttl.unwrap_or(0),
            });
        }
        Reply::Error(error) => {
            message.error = Some(schema::Error {
                code: u32::from(error.code),
                message: error.message.to_owned(),
                temporary: error.temporary,
            });
        }
    }
    append(out, &message);
}

fn append(out: &mut Vec<u8>, message: &schema::Reply) {
    message
        .encode_length_delimited(out)
        .expect("a Vec has room for any message");
}

fn connected(result: &Connected<'_>) -> schema::ConnectResult {
    let subs = result.subs.iter();
    schema::ConnectResult {
        client: result.client.to_owned(),
        version: result.version.to_owned(),
        expires: result.ttl.is_some(),
        ttl: result.ttl.unwrap_or(0),
        subs: subs
            .map(|(topic, sub)| (topic.as_str().to_owned(), subscribed(sub)))
            .collect(),
        ping: u32::try_from(result.ping_seconds).unwrap_or(u32::MAX),
        pong: true,
        session: result.session.to_owned(),
        node: result.node.to_owned(),
        time: i64::try_from(result.time.unix_millis()).unwrap_or(i64::MAX),
    }
}

fn subscribed(result: &Subscribed) -> schema::SubscribeResult {
    let recovered = matches!(result.recovery, Some((_, Recovery::Complete(_))));
    let publications = result.publications().iter().map(|one| {
        let mut sent = one.sent(None);
        if result.position.is_none() {
            sent.offset = 0;
        }
        message(&sent)
    });
    schema::SubscribeResult {
        expires: result.ttl.is_some(),
        ttl: result.ttl.unwrap_or(0),
        recoverable: result.recoverable,
        epoch: result
            .position
            .map_or_else(String::new, |p| p.epoch.to_string()),
        publications: publications.collect(),
        recovered,
        offset: result.offset().unwrap_or(0),
        positioned: result.position.is_some(),
        data: octets(result.data.as_ref()),
        was_recovering: result.recovery.is_some(),
    }
}

fn octets(json: Option<&RawJson>) -> Vec<u8> {
    json.map_or_else(Vec::new, |json| json.as_str().as_bytes().to_vec())
}

fn history(slice: &Slice) -> schema::HistoryResult {
    schema::HistoryResult {
        publications: slice.publications.iter().map(publication).collect(),
        epoch: slice.position.epoch.to_string(),
        offset: slice.position.offset,
    }
}

fn publication(publication: &Publication) -> schema::Publication {
    message(&publication.sent(None))
}

fn client_info(info: &ClientInfo) -> schema::ClientInfo {
    schema::ClientInfo {
        user: (**info.user()).to_owned(),
        client: info.client(),
        conn_info: info.conn_info().as_bytes().to_vec(),
        chan_info: info.chan_info().as_bytes().to_vec(),
    }
}

/// A publication on its way to subscribers.
pub(crate) struct Sent<'a> {
    pub(crate) channel: &'a str,
    /// 0 for none.
    pub(crate) offset: u64,
    pub(crate) data: &'a [u8],
    pub(crate) info: Option<&'a ClientInfo>,
    pub(crate) tags: &'a Tags,
    /// One more tag.
    pub(crate) extra: Option<(&'a str, &'a str)>,
}

fn message(sent: &Sent<'_>) -> schema::Publication {
    let tags = sent
        .tags
        .iter()
        .map(|(name, text)| (name.clone(), text.clone()));
    let extra = sent
        .extra
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
    schema::Publication {
        data: sent.data.to_vec(),
        info: sent.info.map(client_info),
        offset: sent.offset,
        tags: tags.chain(extra).collect(),
    }
}

/// Appends the push of a publication; the answer is where its data stand.
pub(crate) fn write_publication(out: &mut Vec<u8>, sent: &Sent<'_>) -> Range<usize> {
    // Written by hand from the outside in, so that the data's place is known: in a Publication they
    // are the first field, a Publication is the last of a Push, and a Push the last of a Reply.
    let inner = message(sent);
    let inner_len = inner.encoded_len();
    let field = |len: usize| 1 + encoded_len_varint(len as u64) + len;
    let push_len = field(sent.channel.len()) + field(inner_len);
    encode_varint(field(push_len) as u64, out);
    encode_key(PUSH, WireType::LengthDelimited, out);
    encode_varint(push_len as u64, out);
    encode_key(CHANNEL, WireType::LengthDelimited, out);
    encode_varint(sent.channel.len() as u64, out);
    out.extend_from_slice(sent.channel.as_bytes());
    encode_key(PUBLICATION, WireType::LengthDelimited, out);
    encode_varint(inner_len as u64, out);
    let data = out.len() + 1 + encoded_len_varint(sent.data.len() as u64);
    inner.encode(out).expect("a Vec has room for any message");
    // Protobuf leaves empty fields out.
    let data = if sent.data.is_empty() {
        out.len()
    } else {
        data
    };
    data..data + sent.data.len()
}

const PUSH: u32 = 4;
const CHANNEL: u32 = 2;
const PUBLICATION: u32 = 4;

/// Appends a push.
pub(crate) fn write_push(out: &mut Vec<u8>, channel: &str, push: &Push) {
    let mut message = schema::Push {
        channel: channel.to_owned(),
        ..schema::Push::default()
    };
    match push {
        Push::Join(info) => message.join = Some(came(info)),
        Push::Leave(info) => message.leave = Some(came(info)),
        Push::Unsubscribed(why) => {
            message.unsubscribe = Some(schema::Unsubscribe {
                code: u32::from(why.code),
                reason: why.reason.to_owned(),
            });
        }
        Push::Subscribed(result) => {
            message.subscribe = Some(schema::SubscribePush {
                recoverable: result.recoverable,
                epoch: result
                    .position
                    .map_or_else(String::new, |p| p.epoch.to_string()),
                offset: result.offset().unwrap_or(0),
                positioned: result.position.is_some(),
                data: octets(result.data.as_ref()),
            });
        }
    }
    let message = schema::Reply {
        push: Some(message),
        ..schema::Reply::default()
    };
    append(out, &message);
}

fn came(info: &ClientInfo) -> schema::Presence {
    schema::Presence {
        info: Some(client_info(info)),
    }
}

#[cfg(test)]
mod tests;
