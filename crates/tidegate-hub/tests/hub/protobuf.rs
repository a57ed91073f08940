//! The protobuf spelling at the socket, beside JSON: both see the same channel. The octets are written and
//! read here by hand, from the protocol's field numbers.

use crate::on_1_and_4_workers;
use serde_json::json;
use tidegate_hub::{HubConfig, Namespace};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    both_spellings_meet_in_one_channel,
    a_batch_is_answered_in_one_frame,
    octets_pass_where_the_namespace_says_so,
    the_wrong_kind_of_message_ends_the_connection,
);

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn text(number: u8, content: &[u8]) -> Vec<u8> {
    [
        vec![number << 3 | 2],
        varint(content.len()),
        content.to_vec(),
    ]
    .concat()
}

fn number(field: u8, value: usize) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn command(id: usize, kind: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let inner = [number(1, id), text(kind, &fields.concat())].concat();
    [varint(inner.len()), inner].concat()
}

fn take_varint(octets: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = octets[0];
        *octets = &octets[1..];
        value |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

/// The fields of a message: number, and content or value.
fn fields(mut octets: &[u8]) -> Vec<(usize, Vec<u8>, usize)> {
    let mut all = Vec::new();
    while !octets.is_empty() {
        let key = take_varint(&mut octets);
        match key & 7 {
            0 => all.push((key >> 3, Vec::new(), take_varint(&mut octets))),
            2 => {
                let len = take_varint(&mut octets);
                all.push((key >> 3, octets[..len].to_vec(), 0));
                octets = &octets[len..];
            }
            other => panic!("wire type {other}"),
        }
    }
    all
}

/// The messages of a frame.
fn messages(mut frame: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !frame.is_empty() {
        let len = take_varint(&mut frame);
        all.push(frame[..len].to_vec());
        frame = &frame[len..];
    }
    all
}

/// The content of a field, by the way to it.
fn at(octets: &[u8], way: &[usize]) -> Vec<u8> {
    way.iter().fold(octets.to_vec(), |octets, number| {
        let found = fields(&octets).into_iter().find(|(n, ..)| n == number);
        found
            .unwrap_or_else(|| panic!("no field {number} in {octets:?}"))
            .1
    })
}

fn client(net: &mut Net, worker: usize) -> usize {
    let header = "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n";
    let id = net.open(worker, "/connection/websocket", header);
    let status = net.clients[id].status.clone().unwrap().to_lowercase();
    assert!(
        status.contains("sec-websocket-protocol: centrifuge-protobuf"),
        "{status}"
    );
    net.frame(id, 0x82, &command(1, 4, &[text(2, b"{\"name\":\"P\"}")]));
    let reply = net.clients[id].binary.remove(0);
    let client = at(&messages(&reply)[0], &[5, 1]);
    assert_eq!(client.len(), 36);
    id
}

fn both_spellings_meet_in_one_channel(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let (p, j) = (client(&mut net, 0), net.client(2));
    net.frame(p, 0x82, &command(2, 5, &[text(1, channel.as_bytes())]));
    net.subscribe(j, &channel);
    net.clients[p].binary.clear();
    net.pushes(j);
    net.publish(j, &channel, json!({ "from": "json" }));
    let frame = net.clients[p].binary.remove(0);
    let push = at(&messages(&frame)[0], &[4]);
    assert_eq!(at(&push, &[2]), channel.as_bytes());
    assert_eq!(at(&push, &[4, 4]), b"{\"from\":\"json\"}");
    let publish = [
        text(1, channel.as_bytes()),
        text(2, b"{\"from\":\"protobuf\"}"),
    ];
    net.frame(p, 0x82, &command(3, 7, &publish));
    let push = net.pushes(j).pop().unwrap();
    assert_eq!(push["pub"]["data"], json!({ "from": "protobuf" }));
    assert_eq!(push["pub"]["offset"], 2);
    assert_eq!(push["pub"]["info"]["conn_info"], json!({ "name": "P" }));
    // The history in protobuf: both, with their offsets.
    net.clients[p].binary.clear();
    let history = [text(1, channel.as_bytes()), number(7, 10)];
    net.frame(p, 0x82, &command(4, 10, &history));
    let reply = net.clients[p].binary.remove(0);
    let result = at(&messages(&reply)[0], &[11]);
    let offsets: Vec<usize> = fields(&result)
        .iter()
        .filter(|(n, ..)| *n == 1)
        .map(|(_, one, _)| fields(one).iter().find(|(n, ..)| *n == 6).unwrap().2)
        .collect();
    assert_eq!(offsets, [1, 2]);
    // What is no JSON does not get in where JSON is read.
    net.frame(
        p,
        0x82,
        &command(5, 7, &[text(1, channel.as_bytes()), text(2, b"\xff")]),
    );
    let reply = net.clients[p].binary.remove(0);
    let error = at(&messages(&reply)[0], &[2]);
    assert_eq!(fields(&error)[0].2, 107);
}

fn a_batch_is_answered_in_one_frame(mut net: Net) {
    let p = client(&mut net, 1);
    let batch: Vec<u8> = (2..7).flat_map(|id| command(id, 11, &[])).collect();
    net.frame(p, 0x82, &batch);
    let frame = net.clients[p].binary.remove(0);
    let ids: Vec<usize> = messages(&frame)
        .iter()
        .map(|one| fields(one)[0].2)
        .collect();
    assert_eq!(ids, [2, 3, 4, 5, 6]);
    net.pass(std::time::Duration::from_secs(60));
    assert!(
        net.clients[p].pings >= 2,
        "pings are answered: a length of zero"
    );
    assert_eq!(net.clients[p].close, None);
}

fn octets_pass_where_the_namespace_says_so(net: Net) {
    let mut config = HubConfig::dev();
    let binary = Namespace {
        binary: true,
        ..Namespace::open()
    };
    config.namespaces.set("bin", binary);
    let mut net = Net::with(net.workers(), 1, config);
    let channel = net.channel("bin:", 3);
    let (a, b, j) = (client(&mut net, 0), client(&mut net, 1), net.client(2));
    for id in [a, b] {
        net.frame(id, 0x82, &command(2, 5, &[text(1, channel.as_bytes())]));
    }
    assert_eq!(
        net.refused(j, json!({ "subscribe": { "channel": channel } })),
        108
    );
    net.clients[b].binary.clear();
    let long = vec![0xfe; 300];
    for data in [&b"\x00\xff\n"[..], b"", &long] {
        net.frame(
            a,
            0x82,
            &command(3, 7, &[text(1, channel.as_bytes()), text(2, data)]),
        );
        let frame = net.clients[b].binary.remove(0);
        let publication = at(&messages(&frame)[0], &[4, 4]);
        let got = fields(&publication).into_iter().find(|(n, ..)| *n == 4);
        assert_eq!(got.map_or(Vec::new(), |(_, data, _)| data), data);
    }
    let history = json!({ "history": { "channel": channel, "limit": 5 } });
    assert_eq!(net.refused(j, history), 108);
}

fn the_wrong_kind_of_message_ends_the_connection(mut net: Net) {
    let p = client(&mut net, 0);
    net.say(p, "{}");
    assert_eq!(net.clients[p].close.as_ref().map(|c| c.0), Some(3506));
    let p = client(&mut net, 1);
    net.frame(p, 0x82, b"\xff\xff\xff");
    assert_eq!(net.clients[p].close.as_ref().map(|c| c.0), Some(3501));
    let by_query = net.open(2, "/connection/websocket?format=protobuf", "");
    net.frame(by_query, 0x82, &command(1, 4, &[]));
    assert_eq!(net.clients[by_query].binary.len(), 1);
}
