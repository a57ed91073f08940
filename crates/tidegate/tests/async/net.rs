//! Loopback listeners and certificates for them.

use std::sync::Arc;
use tidegate::rustls::ServerConfig;
use tidegate::{Tls, tls};
use tokio::net::TcpListener;

/// A port on loopback that nobody else has.
pub(crate) async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A certificate for `localhost`, as the server shows it and a client trusts it.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Tls,
}

impl Certificate {
    pub(crate) fn new() -> Certificate {
        Certificate::of("localhost")
    }

    pub(crate) fn of(name: &str) -> Certificate {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let client = Tls::builder()
            .root_pem(pem.as_bytes())
            .unwrap()
            .build()
            .unwrap();
        Certificate {
            server: tls::server_config_from_pem(pem.as_bytes(), key.as_bytes()).unwrap(),
            client,
            pem,
            key,
        }
    }
}
