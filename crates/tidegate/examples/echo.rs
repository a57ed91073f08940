//! An echo server: every message comes back as it went. `cargo run --example echo -- 127.0.0.1:9001`

use std::error::Error;
use tidegate::{Echo, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let server = Server::builder()
        .listen(addr.parse()?)
        .start(|_worker| Echo::default())?;
    println!("echo at ws://{}/", server.local_addr());
    server.join()?; // for ever, or until a worker dies
    Ok(())
}
