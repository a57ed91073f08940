//! A client that comes back: prints what a server sends, for ever, whatever happens to the server.
//! `cargo run -p tidegate --example client_reconnect -- ws://127.0.0.1:9001/ [MESSAGE TO SEND EACH TIME]`

use std::error::Error;
use tidegate::{Client, Message, Reconnect};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: client_reconnect URL [MESSAGE]")?;
    let first = args.next();
    let mut connections = Reconnect::new(Client::new(), url)
        .prepare(|attempt| {
            if attempt.failures > 0 {
                eprintln!("again, after {} failures", attempt.failures);
            }
        })
        .resume(move |mut ws, _attempt| {
            let first = first.clone();
            async move {
                if let Some(first) = first {
                    ws.send(first).await?;
                }
                Ok(ws)
            }
        });
    loop {
        let mut ws = connections.next().await?; // an error here is for good
        eprintln!("connected");
        let closed = loop {
            match ws.recv().await {
                Ok(Message::Text(text)) => println!("{text}"),
                Ok(Message::Binary(bytes)) => println!("{} octets", bytes.len()),
                Err(closed) => break closed,
            }
        };
        eprintln!("ended: {:?} {}", closed.code, closed.reason);
    }
}
