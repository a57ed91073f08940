//! What the fuzzers start from: the rows of the table, in the form that each target reads.

use crate::table::{Case, Stage, cases};
use crate::wire::{self, KEY};
use std::collections::BTreeSet;
use tidegate_proto::Role;

/// Longer inputs slow a fuzzer down more than they teach it.
const LONGEST: usize = 700;

/// The seeds of a target, each once.
pub fn of(target: &str) -> BTreeSet<Vec<u8>> {
    let cases = cases();
    let open = |case: &&Case| case.stage == Stage::Open;
    let head = |role: Role| move |case: &&Case| case.stage == Stage::Handshake && case.role == role;
    let deflated = |case: &&Case| open(case) && case.settings.negotiated().is_some();
    let seeds: Vec<Vec<u8>> = match target {
        "frame" => cases.iter().filter(open).map(Case::octets).collect(),
        "connection" => cases.iter().filter(open).map(connection).collect(),
        "handshake_request" => cases
            .iter()
            .filter(head(Role::Server))
            .map(Case::octets)
            .collect(),
        "handshake_response" => cases
            .iter()
            .filter(head(Role::Client))
            .map(Case::octets)
            .collect(),
        "extensions" => cases.iter().flat_map(header_values).collect(),
        "utf8" => texts(cases)
            .map(|text| [b"\x03".to_vec(), text].concat())
            .collect(),
        "mask" => texts(cases)
            .map(|text| [&KEY[..], b"\x11", &text].concat())
            .collect(),
        "deflate" => cases.iter().filter(deflated).map(connection).collect(),
        "command" => COMMANDS
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect(),
        "content" => CONTENTS
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect(),
        "command_protobuf" => COMMANDS_PROTOBUF
            .iter()
            .map(|octets| octets.to_vec())
            .collect(),
        "token" => TOKENS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        _ => Vec::new(),
    };
    let short = |seed: &Vec<u8>| !seed.is_empty() && seed.len() <= LONGEST;
    seeds.into_iter().filter(short).collect()
}

/// Role and seed, then the octets.
fn connection(case: &Case) -> Vec<u8> {
    let role = u8::from(case.role == Role::Client);
    let seed = (case.name.len() as u8) << 1 | role;
    [vec![seed], case.octets()].concat()
}

/// The values of the fields whose readers the target `extensions` tries.
fn header_values(case: &Case) -> Vec<Vec<u8>> {
    let octets = case.octets();
    let lines = octets
        .split(|&octet| octet == b'\n')
        .map(<[u8]>::trim_ascii);
    let names: [&[u8]; 2] = [b"Sec-WebSocket-Extensions:", b"Origin:"];
    let value = |line: &[u8]| {
        names
            .iter()
            .find_map(|name| line.strip_prefix(*name).map(<[u8]>::to_vec))
    };
    let values = lines.filter_map(value);
    values.map(|value| value.trim_ascii().to_vec()).collect()
}

/// Payloads of the frames in the table.
fn texts(cases: &[Case]) -> impl Iterator<Item = Vec<u8>> {
    let open = cases.iter().filter(|case| case.stage == Stage::Open);
    open.flat_map(|case| {
        let masked = case.role == Role::Server;
        wire::read_frames(&case.octets(), masked).unwrap_or_default()
    })
    .map(|frame| frame.payload)
}

/// Messages of a hub's client in protobuf: length, number, command; field by field from the schema.
const COMMANDS_PROTOBUF: &[&[u8]] = &[
    b"\x00",
    b"\x04\x08\x01\x5a\x00\x00",
    b"\x0a\x08\x01\x22\x06\x0a\x01t\x12\x01{",
    b"\x14\x08\x01\x22\x10\x1a\x0e\x0a\x02ch\x12\x08\x18\x01\x32\x02ep\x38\x09",
    b"\x18\x08\x02\x2a\x14\x0a\x02ch\x12\x01t\x18\x01\x32\x02ep\x38\x09\x58\x01\x70\x02\x78\x00",
    b"\x0d\x08\x02\x2a\x09\x0a\x02ch\x6a\x03\x0a\x01o",
    b"\x08\x08\x03\x32\x04\x0a\x02ch",
    b"\x0c\x08\x04\x3a\x08\x0a\x02ch\x12\x02{}",
    b"\x08\x08\x05\x42\x04\x0a\x02ch\x08\x08\x06\x4a\x04\x0a\x02ch",
    b"\x10\x08\x07\x52\x0c\x0a\x02ch\x38\x05\x42\x02\x08\x03\x48\x01",
    b"\x05\x62\x03\x0a\x01x",
    b"\x0d\x08\x08\x6a\x09\x0a\x01x\x12\x04time",
    b"\x07\x08\x09\x72\x03\x0a\x01t\x0b\x08\x0a\x7a\x07\x0a\x02ch\x12\x01t",
];

/// Tokens, and claims as they stand inside of one.
const TOKENS: &[&str] = &[
    "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
    "eyJhbGciOiJub25lIn0.e30.",
    "a.b.c",
    "..",
    "{}",
    r#"{"sub":"ann","exp":1800000060,"iat":1,"nbf":1.5,"jti":"7","aud":["a","b"],"iss":"i"}"#,
    r#"{"sub":"ann","info":{"n":[1]},"channels":["a"],"subs":{"b":{"info":1,"b64info":"e30="}}}"#,
    r#"{"sub":"ann","channel":"$x","expire_at":0,"aud":"a","b64info":"e30=","meta":{"x":[[]]}}"#,
];

/// Messages that a guard looks into.
const CONTENTS: &[&str] = &[
    r#"{"type":"chat","text":"hello","n":[1,-2.5e3,true,null]}"#,
    r#"{"a":1,"\u0061":2}"#,
    r#"["\ud83d\ude00","\ud800","\n"]"#,
    r#"{"d":"{\"a\":[\"1' or 1=1--\"]}"}"#,
    r#"{"f":"Li4vLi4vLi4vZXRjL3Bhc3N3ZA=="}"#,
    r#"{"id":"%2531%2527%2520or%25201=1--"}"#,
    r#"{"n":"&lt;script&gt;alert(1)&#60;/script>"}"#,
    r#"{"__proto__":{"$ne":1}}"#,
    "${${lower:j}ndi:ldap://x}",
    "un/**/ion /*!50000select*/ 1",
    "c'a't${IFS}/e\\tc/pass$@wd;..\\..//",
    "card 4111 1111 1111 1111, AKIAIOSFODNN7EXAMPLE",
    r#"{"n":4111111111111111,"k":"-----BEGIN PRIVATE KEY-----\nMII"}"#,
    "\u{feff}{}",
];

/// Commands of the Centrifuge protocol; the table has none.
const COMMANDS: &[&str] = &[
    r#"{"id":1,"connect":{}}"#,
    r#"{"id":1,"connect":{"token":"t","data":{"a":[1,2.5e3,null]},"name":"js","version":"5"}}"#,
    r#"{"id":2,"subscribe":{"channel":"chat:1","recover":true,"offset":12,"epoch":"abcd"}}"#,
    r#"{"id":3,"publish":{"channel":"chat:1","data":{"text":"\ud83d\ude00 \u0000"}}}"#,
    r#"{"id":4,"history":{"channel":"market:X","limit":-1,"since":{"offset":1,"epoch":"e"},"reverse":true}}"#,
    r#"{"id":5,"presence":{"channel":"chat:1"}}"#,
    r#"{"id":6,"presence_stats":{"channel":"chat:1"}}"#,
    r#"{"id":7,"unsubscribe":{"channel":"chat:1"}}"#,
    r#"{"id":8,"rpc":{"method":"m","data":null}}"#,
    "{}\n{}",
    "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}",
    r#"{"id":4294967296,"connect":{}}"#,
    r#"{"id":1,"id":2,"connect":{},"publish":{}}"#,
    r#"{"id":9,"publish":{"channel":"c","data":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}}"#,
    "[]",
    "nul",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::TARGETS;

    #[test]
    fn every_target_has_seeds() {
        for target in TARGETS {
            assert!(of(target.name).len() >= 8, "{}", target.name);
        }
    }
}
