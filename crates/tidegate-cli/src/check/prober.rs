//! Opens connections to the endpoint, within the bounds that were set, and asks one thing over each. It says what came
//! back and never whether that is right.

use super::frames::{self, CLOSE, Heard, PING, PONG};
use super::head::{Answer, Request, Usual};
use super::line::{Line, Spent};
use super::target::Target;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::ServerName;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

/// Asks an endpoint.
pub(crate) struct Prober {
    pub(crate) target: Target,
    pub(crate) usual: Usual,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// For an answer.
    pub(crate) patience: Duration,
    /// Between two connections.
    pub(crate) pause: Duration,
    /// Octets to send at most.
    pub(crate) max_octets: u64,
    pub(crate) spent: Rc<Spent>,
}

/// What came of a request.
pub(crate) enum Said {
    /// This, and perhaps frames after it.
    Answer(Answer, Line),
    /// Something that is no HTTP/1.1.
    NoHttp,
    /// The end, without an answer.
    Closed,
    /// Nothing, for as long as the patience lasts.
    Nothing,
}

/// What came of frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// A Close with this code.
    Refused(Option<u16>),
    /// The end, without a Close.
    Dropped,
    /// What came after it was answered, and no Close followed.
    Accepted,
    /// Neither.
    Silent,
    /// It could not be asked.
    NotAsked(String),
}

/// An open WebSocket.
pub(crate) struct Socket {
    pub(crate) line: Line,
}

/// What a socket brings next.
pub(crate) enum Next {
    Frame(Heard),
    Ended,
    Late,
}

impl Prober {
    /// A connection.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn connect(&self) -> Result<Line, String> {
        if self.spent.octets.get() >= self.max_octets {
            return Err("--max-bytes are spent".into());
        }
        if self.spent.connections.get() > 0 {
            sleep(self.pause).await;
        }
        self.spent.connections.set(self.spent.connections.get() + 1);
        let connecting = async {
            let tcp = TcpStream::connect(self.target.addr).await?;
            tcp.set_nodelay(true)?;
            let Some(config) = &self.tls else {
                return Ok::<Line, std::io::Error>(Line::new(Box::new(tcp), self.spent.clone()));
            };
            let name = ServerName::try_from(self.target.name().to_owned());
            let name = name.map_err(std::io::Error::other)?;
            let tls = TlsConnector::from(config.clone())
                .connect(name, tcp)
                .await?;
            Ok(Line::new(Box::new(tls), self.spent.clone()))
        };
        match timeout(self.patience * 3, connecting).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("connecting took too long".into()),
        }
    }

    /// Whether so many octets may still be sent; some are kept back for the short questions.
    pub(crate) fn can_afford(&self, octets: usize) -> bool {
        let kept = (self.max_octets / 2).min(KEPT_BACK);
        let fits = self.spent.octets.get() + octets as u64 <= self.max_octets - kept;
        fits || octets <= SHORT
    }

    /// A good request, with a fresh key.
    pub(crate) fn good(&self) -> (Request, String) {
        let mut nonce = [0; 16];
        // Without chance the key is still a key: no secret hangs on it.
        let _ = getrandom::fill(&mut nonce);
        let key = STANDARD.encode(nonce);
        (Request::good(&self.target, &self.usual, &key), key)
    }

    /// Sends a request; `slower` stretches the patience.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub(crate) async fn ask(&self, request: &Request, slower: u32) -> Result<Said, String> {
        let mut line = self.connect().await?;
        let until = Instant::now() + self.patience * slower;
        line.send(&request.octets(), until).await;
        loop {
            match Answer::take(&mut line.inbox) {
                // An interim answer comes before the answer.
                Ok(Some(answer)) if (100..200).contains(&answer.status) && answer.status != 101 => {
                }
                Ok(Some(answer)) => return Ok(Said::Answer(answer, line)),
                Err(()) => return Ok(Said::NoHttp),
                Ok(None) if line.has_ended => return Ok(Said::Closed),
                Ok(None) => {
                    if !line.hear(until).await {
                        return Ok(Said::Nothing);
                    }
                }
            }
        }
    }

    /// A WebSocket.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn open(&self) -> Result<Socket, String> {
        match self.ask(&self.good().0, 2).await? {
            Said::Answer(answer, line) if answer.status == 101 => Ok(Socket { line }),
            Said::Answer(answer, _) => Err(format!(
                "a good handshake was answered with {}",
                answer.status
            )),
            Said::NoHttp => {
                Err("a good handshake was answered with something else than HTTP".into())
            }
            Said::Closed => {
                Err("a good handshake was not answered: the connection was closed".into())
            }
            Said::Nothing => Err("a good handshake was not answered in time".into()),
        }
    }

    /// Sends frames over a WebSocket of their own, and a ping after them: whoever answers it has taken them.
    pub(crate) async fn say(&self, octets: &[u8], slower: u32) -> Verdict {
        self.say_before(FENCE, octets, slower).await
    }

    /// The same with another payload of the ping: an empty one takes no room, where room is what is measured.
    pub(crate) async fn say_before(&self, fence: &[u8], octets: &[u8], slower: u32) -> Verdict {
        if !self.can_afford(octets.len()) {
            return Verdict::NotAsked("it would go beyond --max-bytes".into());
        }
        let mut socket = match self.open().await {
            Ok(socket) => socket,
            Err(why) => return Verdict::NotAsked(why),
        };
        let until = Instant::now() + self.patience * slower;
        socket.line.send(octets, until).await;
        socket.judge(fence, until, slower).await
    }
}

impl Socket {
    /// Asks with a ping whether what was sent has been taken.
    pub(crate) async fn judge(&mut self, fence: &[u8], until: Instant, slower: u32) -> Verdict {
        self.line
            .send(&frames::write(PING, true, fence), until)
            .await;
        let mut until = until;
        let mut answered = false;
        loop {
            match self.next(until).await {
                Next::Frame(heard) if heard.opcode == CLOSE => {
                    return Verdict::Refused(heard.code());
                }
                Next::Frame(heard)
                    if heard.opcode == PONG && heard.payload == fence && !answered =>
                {
                    // An application may judge after the pong has gone out.
                    answered = true;
                    until = Instant::now() + GRACE * slower;
                }
                Next::Frame(_) => {}
                Next::Ended => return Verdict::Dropped,
                Next::Late if answered => return Verdict::Accepted,
                Next::Late => return Verdict::Silent,
            }
        }
    }

    /// The next frame, whatever it is.
    pub(crate) async fn next(&mut self, until: Instant) -> Next {
        loop {
            if let Some(heard) = frames::take(&mut self.line.inbox) {
                return Next::Frame(heard);
            }
            if self.line.has_ended {
                return Next::Ended;
            }
            if !self.line.hear(until).await {
                return Next::Late;
            }
        }
    }
}

/// The payload of the ping that asks.
pub(crate) const FENCE: &[u8] = b"tidegate check: still here?";
/// A question of so many octets is short.
const SHORT: usize = 64 << 10;
/// Octets for short questions.
const KEPT_BACK: u64 = 8 << 20;
/// For a Close that comes after the answer to what followed it.
const GRACE: Duration = Duration::from_millis(200);
