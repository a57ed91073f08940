//! The client that Autobahn's fuzzing server examines, on `connect()`: asks how many cases there are, echoes in each,
//! asks for the report. It knows nothing of what a case wants.

use crate::{Result, settings};
use std::path::Path;
use tidegate::{Client, ClientStream, Closed, Proxy, WebSocket};

/// Runs every case of the fuzzing server at `url`; `root` is the certificate to trust when it is `wss`. `alone`: offers
/// to compress each message by itself, which some cases want to accept.
pub(crate) async fn run(url: &str, agent: &str, alone: bool, root: Option<&Path>) -> Result<()> {
    let mut config = settings::config(true);
    config.deflate.client_no_context_takeover = alone;
    let client = Client::new().config(config).proxy(Proxy::none());
    let client = settings::trusting(client, root)?;
    let url = url.trim_end_matches('/');
    let mut ws = client.connect(&format!("{url}/getCaseCount")).await?;
    let count = ws.recv().await?;
    ws.recv().await.map_or_else(drop, drop);
    let count: u32 = count
        .as_text()
        .ok_or("no number of cases")?
        .trim()
        .parse()?;
    for case in 1..=count {
        // A case may end in any way, that is what it is for; the suite says whether it was the right one.
        match client
            .connect(&format!("{url}/runCase?case={case}&agent={agent}"))
            .await
        {
            Ok(ws) => println!("{case}: {:?}", echo(ws).await),
            Err(why) => println!("{case}: {why}"),
        }
    }
    let mut ws = client
        .connect(&format!("{url}/updateReports?agent={agent}"))
        .await?;
    while ws.recv().await.is_ok() {}
    Ok(())
}

async fn echo(mut ws: WebSocket<ClientStream>) -> Closed {
    loop {
        let message = match ws.recv().await {
            Ok(message) => message,
            Err(closed) => return closed,
        };
        // An error here shows again at the next `recv`, with what caused it.
        let _ = ws.send(message).await;
    }
}
