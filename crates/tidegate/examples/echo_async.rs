//! An echo server on the async face: a task for each connection. `cargo run --example echo_async -- 127.0.0.1:9001`
//! A burst of messages is answered with one write.

use std::error::Error;
use tidegate::{AcceptError, Closed};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1);
    let listener = TcpListener::bind(addr.as_deref().unwrap_or("127.0.0.1:9001")).await?;
    println!("echo at ws://{}/", listener.local_addr()?);
    loop {
        let (tcp, from) = listener.accept().await?;
        tokio::spawn(async move {
            match echo(tcp).await {
                Ok(closed) => println!("{from}: {closed}"),
                Err(error) => println!("{from}: {error}"),
            }
        });
    }
}

/// Until the connection ends; how it did.
async fn echo(tcp: TcpStream) -> Result<Closed, AcceptError> {
    tcp.set_nodelay(true)?;
    let mut ws = tidegate::accept(tcp).await?;
    loop {
        let done = match ws.recv().await {
            Ok(message) => ws.feed(message).await,
            Err(closed) => Err(closed),
        };
        if let Err(closed) = done {
            return Ok(closed);
        }
    }
}
