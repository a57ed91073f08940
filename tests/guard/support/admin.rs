//! Orders and questions to the admin listener.

use super::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What orders must carry in these tests.
pub(crate) const ADMIN_TOKEN: &str = "operators-only";

/// Posts JSON with the token; status and body.
pub(crate) fn order(admin: SocketAddr, path: &str, json: &str) -> (u16, String) {
    let token = format!("Authorization: Bearer {ADMIN_TOKEN}\r\n");
    ask(admin, "POST", path, &token, json)
}

/// Gets a page.
pub(crate) fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    ask(admin, "GET", path, "", "")
}

pub(crate) fn ask(
    admin: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).expect("the admin listener listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}
