//! For tests of programs that use WebSockets: pairs in memory, time that is moved by hand, known masking keys,
//! and a transport that misbehaves on purpose. Nothing here opens a socket.

mod clock;
mod faulty;
pub(crate) mod masks;

pub use clock::Clock;
pub use faulty::{Faults, Faulty};
pub use masks::{FixedMasks, fixed_masks};

use crate::WebSocket;
use std::sync::Arc;
use tidegate_proto::handshake::parse_offers;
use tidegate_proto::{Config, Negotiated, Role, deflate};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

/// Bytes that one side of a pair may write before the other must read.
const PAIR: usize = 16 << 10;

/// A client and a server that talk in memory, their handshake done. Compression is agreed on if
/// [`Config::deflate`] is on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (mut client, mut server) = tidegate::testing::pair(tidegate::Config::default());
/// client.send("hello").await.unwrap();
/// assert_eq!(server.recv().await.unwrap().as_text(), Some("hello"));
/// # }
/// ```
pub fn pair(config: Config) -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (here, there) = duplex(PAIR);
    pair_over(here, there, config)
}

/// The same over the two ends of a transport, say wrapped in [`Faulty`].
pub fn pair_over<C, S>(client: C, server: S, config: Config) -> (WebSocket<C>, WebSocket<S>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let agreed = agree(&config);
    let config = Arc::new(config);
    (
        open(client, Role::Client, config.clone(), agreed),
        open(server, Role::Server, config, agreed),
    )
}

fn open<S>(io: S, role: Role, config: Arc<Config>, agreed: Option<Negotiated>) -> WebSocket<S> {
    let ws = WebSocket::from_upgraded(io, role, config, b"");
    match agreed {
        Some(agreed) => ws.with_deflate(agreed),
        None => ws,
    }
}

/// What the two would agree on.
fn agree(config: &Config) -> Option<Negotiated> {
    let offer = deflate::offer(&config.deflate)?;
    let offers = parse_offers(offer.as_bytes()).ok()?;
    let accepted = deflate::accept(&offers, &config.deflate, None)?;
    Some(accepted.negotiated)
}
