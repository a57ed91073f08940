//! Asking an HTTP proxy for a tunnel (RFC 9110 §9.3.6, CONNECT); it never connects and never retries with
//! credentials by itself.

use super::authority::Authority;
use super::client::{HandshakeError, Refused, RequestError, ResponseHead, head_end};
use super::scan::HeadScan;
use super::write::HeadWriter;
use crate::config::HeadLimits;

/// What a proxy's octets are so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The head goes on; read more.
    Incomplete,
    /// The tunnel is open; what is behind the head comes from the other end of it.
    Open {
        /// Where the tunnel's octets begin in the bytes given.
        head_length: usize,
    },
    /// The proxy refuses, say with 407 (it wants credentials) or 403; it may send a body.
    Refused(Refused),
}

/// A request for a tunnel under way.
///
/// ```
/// use tidegate_proto::HeadLimits;
/// use tidegate_proto::handshake::tunnel::{Answer, Tunnel};
///
/// let mut tunnel = Tunnel::new("example.com:443", &[("Proxy-Authorization", "Basic dTpw")]).unwrap();
/// assert!(tunnel.request().starts_with(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"));
/// let answer = tunnel.parse_response(b"HTTP/1.1 200 OK\r\n\r\n", &HeadLimits::default());
/// assert_eq!(answer, Ok(Answer::Open { head_length: 19 }));
/// ```
#[derive(Clone)]
pub struct Tunnel {
    request: Vec<u8>,
    scan: HeadScan,
}

impl Tunnel {
    /// Writes the request for a tunnel to `authority`, `host:port` with the port always named, with further
    /// fields.
    ///
    /// # Errors
    /// [`RequestError`] when a part can't be sent as it is.
    pub fn new(authority: &str, headers: &[(&str, &str)]) -> Result<Tunnel, RequestError> {
        let names_its_port = Authority::parse(authority).is_some_and(|a| a.port.is_some());
        if !names_its_port {
            return Err(RequestError::Authority);
        }
        let mut request = Vec::with_capacity(128);
        let mut head = HeadWriter::new(&mut request, format_args!("CONNECT {authority} HTTP/1.1"));
        head.field("Host", authority)?;
        for (name, value) in headers {
            head.field(name, value)?;
        }
        head.end();
        Ok(Tunnel {
            request,
            scan: HeadScan::default(),
        })
    }

    /// The bytes to send.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads the answer. `bytes` is all that came since the request was sent; it may only grow from call to
    /// call. Interim answers are skipped.
    ///
    /// # Errors
    /// [`HandshakeError`] when the answer is no HTTP or exceeds a limit; close the connection.
    pub fn parse_response(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Answer, HandshakeError> {
        loop {
            let start = self.scan.start();
            let Some(end) = head_end(&mut self.scan, bytes, limits)? else {
                return Ok(Answer::Incomplete);
            };
            let head = ResponseHead::parse(&bytes[start..end])?;
            match head.status {
                100..=199 => self.scan = HeadScan::starting_at(end),
                //= rfc9110#9.3.6  any 2xx means that the tunnel begins after the head; length fields are ignored.
                200..=299 => return Ok(Answer::Open { head_length: end }),
                _ => return Ok(Answer::Refused(head.refused(end))),
            }
        }
    }
}

/// Shows no field: credentials have no business in a log.
impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(answer: &str) -> Result<Answer, HandshakeError> {
        let mut tunnel = Tunnel::new("a:80", &[]).expect("a good request");
        let limits = HeadLimits::default();
        for end in 0..answer.len() {
            let early = tunnel.parse_response(&answer.as_bytes()[..end], &limits);
            if early != Ok(Answer::Incomplete) {
                return early;
            }
        }
        tunnel.parse_response(answer.as_bytes(), &limits)
    }

    #[test]
    fn any_2xx_opens_the_tunnel_behind_its_head() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 204 \r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let head_length = answer.len();
            assert_eq!(judge(answer), Ok(Answer::Open { head_length }), "{answer}");
        }
    }

    #[test]
    fn other_answers_refuse_and_are_kept() {
        let answer = "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\n\r\n";
        let Ok(Answer::Refused(refused)) = judge(answer) else {
            panic!("it must refuse");
        };
        assert_eq!((refused.status, refused.body_start), (407, answer.len()));
        assert_eq!(
            refused.headers.first("proxy-authenticate"),
            Some(&b"Basic"[..])
        );
    }

    #[test]
    fn what_is_no_http_is_named_at_its_first_line() {
        assert_eq!(judge("SSH-2.0-x\r\n\r\n"), Err(HandshakeError::NotHttp));
    }

    #[test]
    fn a_target_without_a_port_and_a_smuggled_field_are_not_sent() {
        assert_eq!(Tunnel::new("a", &[]).unwrap_err(), RequestError::Authority);
        assert_eq!(
            Tunnel::new("a b:80", &[]).unwrap_err(),
            RequestError::Authority
        );
        let smuggled = Tunnel::new("a:80", &[("X", "1\r\nY: 2")]);
        assert!(matches!(smuggled, Err(RequestError::Field(_))));
    }
}
