//! The peers' receiving sides over a source in memory. tokio-websockets' codec and mask are private, so its
//! `WebSocketStream` is read; fastwebsockets' `WebSocket::read_frame`; tungstenite's blocking `WebSocket::read`.

use crate::measure::Contender;
use crate::source::Source;
use fastwebsockets::{Role, WebSocket};
use futures_util::StreamExt;
use std::hint::black_box;
use tokio::runtime::{Builder, Runtime};
use tungstenite::protocol;

/// A runtime without a reactor or a timer: nothing here ever waits.
fn runtime() -> Runtime {
    Builder::new_current_thread()
        .build()
        .expect("a runtime without I/O needs nothing of the system")
}

pub(crate) fn tokio_websockets(source: Source) -> Contender {
    let runtime = runtime();
    let mut socket = tokio_websockets::ServerBuilder::new().serve(source);
    Contender::new("tokio-websockets", move |ops| {
        runtime.block_on(async {
            for _ in 0..ops {
                let message = socket.next().await.expect("the source is endless");
                black_box(message.expect("the stream is well-formed").as_payload());
            }
        });
        ops
    })
}

pub(crate) fn fastwebsockets(source: Source) -> Contender {
    let runtime = runtime();
    let mut socket = WebSocket::after_handshake(source, Role::Server);
    Contender::new("fastwebsockets", move |ops| {
        runtime.block_on(async {
            for _ in 0..ops {
                let frame = socket
                    .read_frame()
                    .await
                    .expect("the stream is well-formed");
                black_box(&frame.payload[..]);
            }
        });
        ops
    })
}

pub(crate) fn tungstenite(source: Source) -> Contender {
    let mut socket = protocol::WebSocket::from_raw_socket(source, protocol::Role::Server, None);
    Contender::new("tungstenite", move |ops| {
        for _ in 0..ops {
            let message = socket.read().expect("the stream is well-formed");
            black_box(&message);
        }
        ops
    })
}
