//! Memory of an idle connection: of the whole process, divided by the connections, before and after each has echoed a
//! message.

use crate::child::{PEERS, Server, message, shake_hands};
use crate::{Result, option, serve};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use tidegate::rustls::{self, ClientConnection, StreamOwned};

/// A client's connection, with TLS or without.
enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    fn open(server: &Server, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Connection> {
        let Some(config) = tls else {
            return Ok(Connection::Plain(server.connect()?));
        };
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port))?;
        tcp.set_nodelay(true)?;
        let session = ClientConnection::new(config.clone(), "localhost".try_into()?)?;
        let mut io = StreamOwned::new(session, tcp);
        shake_hands(&mut io)?;
        Ok(Connection::Tls(Box::new(io)))
    }

    fn echo(&mut self, sent: &[u8], expected: &[u8]) -> Result<()> {
        let mut got = vec![0; expected.len()];
        match self {
            Connection::Plain(io) => {
                io.write_all(sent)?;
                io.read_exact(&mut got)?;
            }
            Connection::Tls(io) => {
                io.write_all(sent)?;
                io.flush()?;
                io.read_exact(&mut got)?;
            }
        }
        match got == expected {
            true => Ok(()),
            false => Err("not the echo of what was sent".into()),
        }
    }
}

/// `idle [--connections N] [--tls] [--json FILE]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let tls = words.contains(&"--tls");
    let connections: usize = option(words, "--connections", if tls { 1_000 } else { 5_000 })?;
    let file: String = option(words, "--json", String::new())?;
    raise_open_files(connections as u64 + 100)?;
    println!(
        "{connections} connections{}: bytes of RSS for each",
        if tls { " with TLS" } else { "" }
    );
    println!(
        "{:<20}{:>10}{:>24}",
        "", "untouched", "after a message each"
    );
    let mut rows = Vec::new();
    for peer in PEERS {
        let [untouched, used] = measure(peer, connections, tls)?;
        println!("{peer:<20}{untouched:>10}{used:>24}");
        rows.push(json!({ "server": peer, "untouched": untouched, "used": used }));
    }
    if !file.is_empty() {
        let run: Value =
            json!({ "connections": connections, "tls": tls, "rss_per_connection": rows });
        fs::write(file, serde_json::to_string_pretty(&run)? + "\n")?;
    }
    Ok(())
}

fn measure(peer: &str, connections: usize, tls: bool) -> Result<[u64; 2]> {
    let server = Server::start(peer, tls)?;
    let config = tls
        .then(|| serve::client_config(&server.certificate))
        .transpose()?;
    let (sent, expected) = message(100);
    // What is made once is made before.
    for _ in 0..10 {
        Connection::open(&server, config.as_ref())?.echo(&sent, &expected)?;
    }
    let before = server.resident()?;
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(&server, config.as_ref())?);
    }
    let each = |now: u64| now.saturating_sub(before) / connections as u64;
    let untouched = each(server.resident()?);
    for connection in &mut open {
        connection.echo(&sent, &expected)?;
    }
    Ok([untouched, each(server.resident()?)])
}

/// The children inherit it.
fn raise_open_files(wanted: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        if limit.maximum.is_some_and(|maximum| maximum < wanted) {
            return Err(format!("{wanted} open files are more than this system allows").into());
        }
        let maximum = limit.maximum;
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum.or(Some(wanted)),
                maximum,
            },
        )?;
    }
    Ok(())
}
