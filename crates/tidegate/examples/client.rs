//! A client: sends each argument as a message and prints what comes back.
//! `cargo run -p tidegate --example client -- ws://127.0.0.1:9001/ hello world`

use std::error::Error;
use tidegate::{CloseCode, Message};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: client URL MESSAGE...")?;
    let mut ws = tidegate::connect(&url).await?;
    for text in args {
        ws.send(text)
            .await
            .map_err(|closed| format!("{closed:?}"))?;
        match ws.recv().await {
            Ok(Message::Text(text)) => println!("{text}"),
            Ok(Message::Binary(bytes)) => println!("{} octets", bytes.len()),
            Err(closed) => return Err(format!("{closed:?}").into()),
        }
    }
    let closed = ws.close(CloseCode::NORMAL, "").await;
    println!("closed, clean: {}", closed.clean);
    Ok(())
}
