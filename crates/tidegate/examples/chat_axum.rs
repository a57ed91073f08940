//! A chat room behind axum: each message goes to everyone in the room; Enter sends all home over two seconds.
//! Run it with `cargo run -p tidegate --example chat_axum -- 127.0.0.1:3000`, then twice
//! `tidegate connect ws://127.0.0.1:3000/room`.

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::Response;
use axum::response::IntoResponse;
use axum::routing::any;
use std::time::Duration;
use tidegate::upgrade::Upgrade;
use tidegate::{Acceptor, Drain, Farewell, Message};
use tokio::sync::broadcast::{self, error::RecvError};

/// Everyone hears what is said here. One who is 64 messages behind misses some, and is told so.
type Room = broadcast::Sender<Message>;

async fn enter(State(room): State<Room>, upgrade: Upgrade) -> Response<axum::body::Body> {
    let answer = upgrade.on_upgrade(move |ws| async move {
        let (sender, mut receiver) = ws.split();
        let mut heard = room.subscribe();
        loop {
            tokio::select! {
                said = receiver.recv() => match said {
                    Ok(message) => drop(room.send(message)), // we ourselves listen, so somebody does
                    Err(_closed) => return,
                },
                message = heard.recv() => {
                    let message = match message {
                        Ok(message) => message,
                        Err(RecvError::Lagged(n)) => Message::from(format!("({n} messages missed)")),
                        Err(RecvError::Closed) => return,
                    };
                    // Who takes nothing for 35 s is found dead by the keepalive.
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    answer.into_response()
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let drain = Drain::new();
    let router = Router::new()
        .route("/room", any(enter))
        .with_state(broadcast::channel(64).0)
        .layer(Extension(Acceptor::new().drain(&drain)));
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("chat at ws://{}/room", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let enter = || std::io::stdin().read_line(&mut String::new());
    let _ = tokio::task::spawn_blocking(enter).await; // a closed stdin is as good
    let farewell = Farewell {
        window: Duration::from_secs(2),
        ..Farewell::restart()
    };
    println!("closing {} connections", drain.present());
    drain.close(farewell).await;
    Ok(())
}
