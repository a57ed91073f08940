//! WebSockets over HTTP/2 and HTTP/1.1 on one port, both sides: an echo, and two clients that each take another way.
//! `cargo run -p tidegate --features http2 --example h2`

use std::error::Error;
use tidegate::client::Http;
use tidegate::{Acceptor, Client, CloseCode, Proxy};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/echo", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    for http in [Http::Http1, Http::Http2] {
        let client = Client::new().proxy(Proxy::none()).http(http);
        let (mut ws, how) = client.open(&url).await?;
        ws.send("hello").await.map_err(|closed| closed.reason)?;
        let echoed = ws.recv().await.map_err(|closed| closed.reason)?;
        println!(
            "{:?}, status {}: {}",
            how.version,
            how.status,
            echoed.as_text().unwrap_or_default()
        );
        ws.close(CloseCode::NORMAL, "").await;
    }
    Ok(())
}

/// One connection: one WebSocket over HTTP/1.1, any number over HTTP/2.
async fn serve(tcp: tokio::net::TcpStream) {
    let mut incoming = Acceptor::new().incoming(tcp);
    while let Some(accepted) = incoming.next().await {
        let Ok(mut ws) = accepted else { continue };
        tokio::spawn(async move {
            while let Ok(message) = ws.recv().await {
                if ws.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
}
