//! Questions to an echo that somebody else wrote: each must come back as it went, and the close must be clean. It says
//! what was agreed on as one line of JSON.

use crate::{Result, settings};
use std::path::Path;
use std::time::Duration;
use tidegate::client::{Http, HttpVersion};
use tidegate::{Client, CloseCode, Message, Proxy};

/// Connects as the flags say, and asks.
pub(crate) async fn run(url: &str, flags: &[&str]) -> Result<()> {
    let client = client(flags)?;
    let (mut ws, how) = client.open(url).await?;
    for question in questions() {
        ws.send(question.clone()).await?;
        let answer = ws.recv().await?;
        if answer != question {
            return Err(format!("{question:?} came back as {answer:?}").into());
        }
    }
    // Several on their way at once.
    let many: Vec<Message> = (0..200)
        .map(|n| Message::from(format!("number {n}")))
        .collect();
    for question in &many {
        ws.try_send(question.clone())?;
    }
    ws.flush().await?;
    for question in &many {
        if ws.recv().await? != *question {
            return Err(format!("{question:?} did not come back in its turn").into());
        }
    }
    let rtt = ws.ping().await?;
    if rtt > Duration::from_secs(60) {
        return Err("a pong came after a minute".into());
    }
    let (subprotocol, deflate) = (ws.subprotocol().map(str::to_owned), ws.deflate().is_some());
    let closed = ws.close(CloseCode::NORMAL, "asked enough").await;
    if !closed.clean || closed.code != Some(CloseCode::NORMAL) {
        return Err(format!("not a clean end: {closed:?}").into());
    }
    let http = match how.version {
        HttpVersion::Http2 => "2",
        _ => "1.1",
    };
    let subprotocol = subprotocol.map_or("null".into(), |name| format!("{name:?}"));
    println!(
        r#"{{"http":"{http}","deflate":{deflate},"subprotocol":{subprotocol},"proxy":{},"tls":{}}}"#,
        how.proxy.is_some(),
        how.tls.is_some(),
    );
    Ok(())
}

fn client(flags: &[&str]) -> Result<Client> {
    let mut client = Client::new().proxy(Proxy::none());
    let (mut root, mut deflate) = (None, false);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let mut value = || flags.next().ok_or(format!("{flag} wants a value"));
        match *flag {
            "--root" => root = Some(Path::new(*value()?)),
            "--proxy" => client = client.proxy(Proxy::url(value()?)?),
            "--deflate" => deflate = true,
            "--subprotocol" => client = client.subprotocols([*value()?]),
            "--http" => {
                client = client.http(match *value()? {
                    "1.1" => Http::Http1,
                    "2" => Http::Http2,
                    other => return Err(format!("no HTTP {other}").into()),
                });
            }
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    settings::trusting(client.config(settings::config(deflate)), root)
}

/// Of each kind, empty, at the edges of the three forms of a length, and long.
fn questions() -> Vec<Message> {
    let text =
        |length: usize| Message::from("é tide ".chars().cycle().take(length).collect::<String>());
    let octets =
        |length: usize| Message::from((0..length).map(|n| (n * 31) as u8).collect::<Vec<u8>>());
    let mut questions = vec![text(0), octets(0)];
    for length in [1, 125, 126, 127, 65_535, 65_536, 300_000] {
        questions.push(text(length));
        questions.push(octets(length));
    }
    questions
}
