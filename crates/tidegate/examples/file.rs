//! A file as one message, however long it is: `cargo run --example file -- send FILE ws://…`, and
//! `cargo run --example file -- receive FILE 127.0.0.1:9002` on the other side. Neither holds more of it than a buffer.

use std::error::Error;
use std::path::Path;
use tidegate::CloseCode;
use tidegate::tidegate_proto::MessageKind;
use tokio::fs::File;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["send", file, url] => send(file.as_ref(), url).await,
        ["receive", file, addr] => receive(file.as_ref(), addr).await,
        _ => Err("usage: file send FILE ws://HOST:PORT/ | file receive FILE HOST:PORT".into()),
    }
}

async fn send(file: &Path, url: &str) -> Result<(), Box<dyn Error>> {
    let mut file = File::open(file).await?;
    let mut ws = tidegate::connect(url).await?;
    let mut message = ws.message_writer(MessageKind::Binary).await?;
    let bytes = tokio::io::copy(&mut file, &mut message).await?;
    message.finish().await?;
    drop(message);
    println!("{bytes} bytes; {}", ws.close(CloseCode::NORMAL, "").await);
    Ok(())
}

async fn receive(file: &Path, addr: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(addr).await?;
    println!("waiting at ws://{}/", listener.local_addr()?);
    let (tcp, _) = listener.accept().await?;
    let mut ws = tidegate::accept(tcp).await?;
    let mut message = ws.next_message().await?;
    let bytes = tokio::io::copy(&mut message, &mut File::create(file).await?).await?;
    drop(message);
    println!(
        "{bytes} bytes; {}",
        ws.recv().await.expect_err("one message is all")
    );
    Ok(())
}
