//! One HTTP/1.1 request over any stream, and its answer taken apart.

use super::connect;
use std::io::{Read, Write};
use std::net::SocketAddr;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body is a single line.
    pub(crate) fn is_one_line(&self) -> bool {
        self.text().trim_end().lines().count() == 1
    }
}

/// `GET path` on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "")
}

/// A request with more header lines, each ended by CRLF.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    exchange(&mut connect(address), head.as_bytes(), method == "HEAD")
}

/// `POST path` of a JSON body, with more header lines.
pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    exchange(&mut connect(address), head.as_bytes(), false)
}

/// Sends `request` and reads one answer.
pub(crate) fn exchange(stream: &mut (impl Read + Write), request: &[u8], no_body: bool) -> Answer {
    stream.write_all(request).expect("the request is sent");
    read(stream, no_body)
}

/// Reads one answer.
pub(crate) fn read(stream: &mut impl Read, no_body: bool) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let n = stream.read(&mut byte).expect("an answer");
        assert_ne!(n, 0, "closed after {:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .expect("a status");
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let length = answer
        .header("content-length")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    if !no_body && status != 101 && status != 304 {
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).expect("the whole body");
    }
    answer
}
