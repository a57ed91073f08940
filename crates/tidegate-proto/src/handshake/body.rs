//! The body of an answer that refuses, as far as a client wants to show it: how long it is, and what it says without
//! HTTP/1.1's framing. It never waits for the end of one.

use super::fields::Fields;

/// The body of an answer with these fields as far as its octets have come, at most `most` of them.
///
/// ```
/// use tidegate_proto::handshake::body::{Body, read};
/// # use tidegate_proto::HeadLimits;
/// # use tidegate_proto::handshake::client::{Answer, ClientHandshake, ClientRequest};
/// # let head = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n";
/// # let mut handshake = ClientHandshake::new(&ClientRequest::new("a", "/", [0; 16])).unwrap();
/// # let Ok(Answer::Refused(refused)) = handshake.parse_response(head, &HeadLimits::default()) else { panic!() };
/// # let headers = refused.headers;
/// let body = read(&headers, b"3\r\nno!\r\n0\r\n\r\n", 4096);
/// assert_eq!(body, Body { octets: b"no!".to_vec(), is_whole: true });
/// ```
pub fn read(headers: &Fields, bytes: &[u8], most: usize) -> Body {
    //= rfc9112#6.3  chunked goes before Content-Length; without both the body ends with the connection.
    let (mut octets, ended) = match headers.list_has("transfer-encoding", "chunked") {
        true => unchunk(bytes),
        false => {
            let length = length(headers).unwrap_or(usize::MAX);
            let there = bytes.len().min(length);
            (bytes[..there].to_vec(), there == length)
        }
    };
    let is_whole = ended || octets.len() >= most;
    octets.truncate(most);
    Body { octets, is_whole }
}

/// What has come of a body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    /// The content.
    pub octets: Vec<u8>,
    /// Nothing more will come of it, or is wanted.
    pub is_whole: bool,
}

fn length(headers: &Fields) -> Option<usize> {
    let length = headers.only("content-length")?;
    std::str::from_utf8(length).ok()?.parse().ok()
}

/// The content of the chunks that have come, and whether the last one has. What is no chunk ends it.
fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((start, size))) => (start, size),
            Ok(httparse::Status::Partial) => return (content, false),
            Err(_) => return (content, true),
        };
        if size == 0 {
            return (content, true);
        }
        let rest = &bytes[start..];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let there = rest.len().min(size);
        content.extend_from_slice(&rest[..there]);
        match rest.get(size..).and_then(|rest| rest.get(2..)) {
            Some(next) => bytes = next,
            None => return (content, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &[u8])]) -> Fields {
        Fields::written("HTTP/1.1 403 No", pairs.iter().copied()).expect("good fields")
    }

    #[test]
    fn bodies_are_read_by_length_by_chunks_or_to_the_end() {
        let long = fields(&[("content-length", b"5")]);
        let chunked = fields(&[
            ("transfer-encoding", b"gzip, chunked"),
            ("content-length", b"1"),
        ]);
        let endless = fields(&[]);
        let rows: &[(&Fields, &[u8], &[u8], bool)] = &[
            (&long, b"", b"", false),
            (&long, b"hel", b"hel", false),
            (&long, b"hello", b"hello", true),
            (&long, b"hello, more", b"hello", true),
            (&chunked, b"", b"", false),
            (&chunked, b"5", b"", false),
            (&chunked, b"5\r\nhel", b"hel", false),
            (&chunked, b"5\r\nhello\r", b"hello", false),
            (
                &chunked,
                b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                b"hello",
                true,
            ),
            (&chunked, b"3\r\nhel\r\nzz", b"hel", true),
            (&chunked, b"ffffffffffffffff\r\nhel", b"hel", false),
            (&endless, b"hello", b"hello", false),
        ];
        for (headers, bytes, octets, is_whole) in rows {
            let expected = Body {
                octets: octets.to_vec(),
                is_whole: *is_whole,
            };
            assert_eq!(
                read(headers, bytes, 4096),
                expected,
                "{}",
                bytes.escape_ascii()
            );
        }
        let capped = read(&endless, b"hello", 4);
        assert_eq!((&*capped.octets, capped.is_whole), (&b"hell"[..], true));
    }
}
