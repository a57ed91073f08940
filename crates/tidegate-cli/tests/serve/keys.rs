//! Tokens whose keys are fetched: from a source that fails at first, that changes its keys, that goes away.

use crate::support::process::{Scratch, Server, configured};
use crate::support::ws::Ws;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A source of keys on this machine: it answers what it is told to.
struct Source {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
}

impl Source {
    fn start(status: u16, body: &str) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new((status, body.to_owned())));
        let told = Arc::clone(&answer);
        // It ends with the process; it only ever answers.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    head.push(byte[0]);
                }
                let (status, body) = told.lock().expect("no panic").clone();
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(text.as_bytes());
            }
        });
        Source { address, answer }
    }

    fn say(&self, status: u16, body: &str) {
        *self.answer.lock().expect("no panic") = (status, body.to_owned());
    }
}

/// A key of an issuer.
struct Issuer {
    id: &'static str,
    key: KeyPair,
}

impl Issuer {
    fn new(id: &'static str) -> Issuer {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        Issuer { id, key }
    }

    fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.key.public_key_raw();
        let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": part(1), "y": part(33) })
    }

    fn token(&self, user: &str) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        let pem = self.key.serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key in PEM");
        encode(&header, &json!({ "sub": user }), &key).expect("a token")
    }
}

fn served(name: &str, source: &Source) -> (Server, Scratch) {
    let text = format!(
        "[tokens]\njwks_url = \"http://{}/jwks\"\n[admin]\nlisten = \"off\"\n",
        source.address
    );
    let config = Scratch::new(&format!("keys-{name}.toml"), &text);
    (configured(&config), config)
}

/// The reply to a connect with this token, or the close code.
fn connect(server: &Server, token: &str) -> Result<Value, u64> {
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.say(&json!({ "id": 1, "connect": { "token": token } }));
    let frame = client.expect();
    if frame.opcode == crate::support::ws::CLOSE {
        return Err(frame.close_code().into());
    }
    let reply: Value =
        serde_json::from_str(frame.text().lines().next().expect("a line")).expect("JSON");
    match reply["error"]["code"].as_u64() {
        Some(code) => Err(code),
        None => Ok(reply["connect"].clone()),
    }
}

fn eventually(server: &Server, token: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(code) = connect(server, token) {
        assert!(Instant::now() < deadline, "still {code}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn keys_come_when_the_source_does_and_stay_when_it_goes() {
    let (ann, stranger) = (Issuer::new("k1"), Issuer::new("k1"));
    let source = Source::start(503, "not yet");
    let (server, _config) = served("come", &source);
    server.said(&["token keys cannot be fetched", "503"]);
    // Not known yet: a temporary error, so that the client tries again.
    assert_eq!(connect(&server, &ann.token("ann")), Err(100));
    source.say(200, &json!({ "keys": [ann.jwk()] }).to_string());
    eventually(&server, &ann.token("ann"));
    assert_eq!(
        connect(&server, &stranger.token("ann")),
        Err(3500),
        "the same name, another key"
    );
    source.say(500, "gone");
    assert!(connect(&server, &ann.token("ann")).is_ok());
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it() {
    let (old, new) = (Issuer::new("k1"), Issuer::new("k2"));
    let source = Source::start(200, &json!({ "keys": [old.jwk()] }).to_string());
    let (server, _config) = served("new", &source);
    eventually(&server, &old.token("ann"));
    source.say(200, &json!({ "keys": [old.jwk(), new.jwk()] }).to_string());
    // Nothing but the token's unknown name makes the server ask before an hour is over.
    eventually(&server, &new.token("bob"));
}
