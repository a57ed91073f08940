//! An issuer of tokens with keys of its own, and the place from which its key set is fetched.

use super::wire::read_head;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// A key, and what it is called.
pub(crate) struct Key {
    id: &'static str,
    pair: KeyPair,
}

impl Key {
    pub(crate) fn new(id: &'static str) -> Key {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        Key { id, pair }
    }

    fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.pair.public_key_raw();
        let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": part(1), "y": part(33),
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        let pem = self.pair.serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key in PEM");
        encode(&header, claims, &key).expect("a token")
    }
}

/// The key set of these keys.
pub(crate) fn key_set(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A source of keys on this machine: it answers what it is told to, and counts. It ends with the test's process.
pub(crate) struct Source {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<(u16, String, usize)>>,
}

impl Source {
    pub(crate) fn start(status: u16, body: &str) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new((status, body.to_owned(), 0)));
        let told = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if read_head(&mut stream).is_err() {
                    continue;
                }
                let (status, body) = {
                    let mut told = told.lock().expect("no panic");
                    told.2 += 1;
                    (told.0, told.1.clone())
                };
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(text.as_bytes()); // who asked may have gone
            }
        });
        Source { address, answer }
    }

    pub(crate) fn say(&self, status: u16, body: &str) {
        let mut answer = self.answer.lock().expect("no panic");
        (answer.0, answer.1) = (status, body.to_owned());
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.answer.lock().expect("no panic").2
    }
}
