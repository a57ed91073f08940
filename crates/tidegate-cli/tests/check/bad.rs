//! A WebSocket echo that keeps to every rule, written by hand, and that breaks one for each fault it is told. It shares no
//! code with what it is checked by, but the computation of Sec-WebSocket-Accept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What it does wrong; empty: nothing.
pub(crate) type Faults = Arc<HashSet<&'static str>>;

/// Every fault there is, with what must be found for it.
pub(crate) const FAULTS: &[(&str, &[&str])] = &[
    ("foreign origin", &["H1.foreign-origin"]),
    ("null origin", &["H1.null-origin"]),
    ("near origin", &["H1.near-origin"]),
    ("malformed origin", &["H1.malformed-origin"]),
    ("two origins", &["H1.two-origins"]),
    ("any upgrade", &["H5.other-upgrade"]),
    ("no connection", &["H5.no-connection"]),
    ("missing key", &["H6.missing-key"]),
    ("short key", &["H6.bad-key"]),
    ("any version", &["H7.version"]),
    ("silent about versions", &["H7.version-answer"]),
    ("any method", &["H8.method"]),
    ("old http", &["H8.http-1.0"]),
    ("body", &["H8.body"]),
    ("header flood", &["H9.header-flood"]),
    ("wrong accept", &["H3.accept"]),
    ("no upgrade field", &["H3.answer"]),
    ("extension unasked", &["H10.unoffered-extension"]),
    ("any extension", &["H10.unknown-extension"]),
    ("any window bits", &["H10.deflate-parameter"]),
    ("extension syntax", &["H10.extension-syntax"]),
    ("slow handshake", &["H11.handshake-timeout"]),
    ("any host", &["H12.rebinding"]),
    ("two hosts", &["H12.host"]),
    ("target", &["H13.target"]),
    ("subprotocol unasked", &["H15.unoffered-subprotocol"]),
    ("any subprotocol", &["H15.any-subprotocol"]),
    ("subprotocol syntax", &["H15.subprotocol-syntax"]),
    ("reflects", &["H17.reflected"]),
    ("control octets", &["H17.control-octets"]),
    ("malformed field", &["H17.malformed-field"]),
    ("cookie", &["P1.cookie"]),
    ("banner", &["P2.banner"]),
    ("no answer", &["H0.no-answer"]),
    ("own error", &["H0.server-error"]),
    ("unmasked", &["F1.unmasked"]),
    ("masks", &["F1.masked-answer"]),
    ("reserved bits", &["F2.reserved-bits"]),
    ("reserved opcode", &["F0.close-code", "F3.reserved-opcode"]),
    ("long control", &["F4.long-control"]),
    ("fragmented control", &["F4.fragmented-control"]),
    ("no pong", &["F4.no-pong"]),
    ("any size", &["F5.size"]),
    ("top bit", &["F6.length"]),
    ("long lengths", &["F7.non-minimal-length"]),
    ("any text", &["F9.invalid-utf-8"]),
    ("any reason", &["F9.close-reason"]),
    ("any close code", &["F10.close-code"]),
    ("any close body", &["F10.close-body"]),
    ("no close", &["F10.no-close-answer"]),
    ("orphans", &["F11.orphan-continuation"]),
    ("interleaved", &["F11.interleaved"]),
    ("after close", &["F11.after-close"]),
    ("other code", &["F0.close-code"]),
    ("drops", &["F0.no-close"]),
    ("pings", &["R3.ping-flood"]),
    ("fragments", &["R4.fragments"]),
    ("falls over", &["A0.gone", "F0.no-close"]),
];

/// Listens until the test's process ends, or it falls over.
pub(crate) fn serve(faults: &[&'static str]) -> SocketAddr {
    let faults: Faults = Arc::new(faults.iter().copied().collect());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (tell, falls) = std::sync::mpsc::channel::<()>();
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (faults, tell) = (faults.clone(), tell.clone());
            thread::spawn(move || {
                let peer = Peer {
                    stream,
                    faults,
                    addr,
                    buffer: Vec::new(),
                    at: 0,
                };
                if peer.serve() == Some(Fallen) {
                    let _ = tell.send(());
                    // Wakes the listener, so that it sees that it has fallen over.
                    drop(TcpStream::connect(addr));
                }
            });
            if falls.try_recv().is_ok() {
                return;
            }
        }
    });
    addr
}

/// The whole server is to go.
#[derive(PartialEq)]
struct Fallen;

struct Peer {
    stream: TcpStream,
    faults: Faults,
    addr: SocketAddr,
    buffer: Vec<u8>,
    /// What of it was taken.
    at: usize,
}

/// A head, read.
struct Head {
    method: String,
    target: String,
    version: String,
    fields: Vec<(String, String)>,
    raw: String,
}

impl Head {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_it = move |(field, value): &'a (String, String)| {
            (field.trim() == name).then_some(value.as_str())
        };
        self.fields.iter().filter_map(of_it)
    }

    fn first(&self, name: &str) -> Option<String> {
        self.all(name).next().map(str::to_owned)
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    }
}

impl Peer {
    fn has(&self, fault: &str) -> bool {
        self.faults.contains(fault)
    }

    /// It copies what looks like an attack into its answer, and nothing else.
    fn reflects(&self, head: &str) -> bool {
        self.has("reflects") && head.contains("X-Tidegate-Check")
    }

    fn serve(mut self) -> Option<Fallen> {
        if !self.has("slow handshake") {
            self.stream
                .set_read_timeout(Some(Duration::from_secs(1)))
                .ok()?;
        }
        let head = match self.read_head()? {
            Ok(head) => head,
            Err(status) => return self.refuse(status, ""),
        };
        self.stream.set_read_timeout(None).ok()?;
        if let Err((status, more)) = self.judge(&head) {
            return self.refuse(status, more);
        }
        self.accept(&head)?;
        self.frames()
    }

    fn refuse(&mut self, status: u16, more: &str) -> Option<Fallen> {
        let status = if self.has("own error") { 500 } else { status };
        if !self.has("no answer") {
            let answer = format!(
                "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n{more}\r\n"
            );
            self.stream.write_all(answer.as_bytes()).ok()?;
        }
        self.leave();
        None
    }

    /// Closes so that what was said last is not lost to a reset.
    fn leave(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut rest = [0; 64 << 10];
        while self.stream.read(&mut rest).is_ok_and(|n| n > 0) {}
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 64 << 10];
        let n = self.stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Some(())
    }

    fn read_head(&mut self) -> Option<Result<Head, u16>> {
        let most = if self.has("header flood") {
            1 << 20
        } else {
            16 << 10
        };
        let end = loop {
            if let Some(end) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break end;
            }
            if self.buffer.len() > most {
                return Some(Err(431));
            }
            self.more()?;
        };
        if end > most {
            return Some(Err(431));
        }
        let raw = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = raw.split("\r\n");
        let start: Vec<String> = lines.next()?.split(' ').map(str::to_owned).collect();
        let [method, target, version] = &start[..] else {
            return Some(Err(400));
        };
        let mut fields = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                return Some(Err(400));
            };
            let token = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if !name.chars().all(token) && !self.has("malformed field") {
                return Some(Err(400));
            }
            if value.contains(['\r', '\0']) && !self.has("control octets") && !self.reflects(&raw) {
                return Some(Err(400));
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let (method, target, version) = (method.clone(), target.clone(), version.clone());
        Some(Ok(Head {
            method,
            target,
            version,
            fields,
            raw,
        }))
    }

    fn judge(&self, head: &Head) -> Result<(), (u16, &'static str)> {
        let want = |good: bool, fault: &str, status: u16| match good || self.has(fault) {
            true => Ok(()),
            false => Err((status, "")),
        };
        want(head.method == "GET", "any method", 405)?;
        want(head.version == "HTTP/1.1", "old http", 400)?;
        want(!head.target.contains(['#', '\0']), "target", 400)?;
        let has_body = head.first("transfer-encoding").is_some()
            || head
                .first("content-length")
                .is_some_and(|length| length != "0");
        want(!has_body, "body", 400)?;
        self.judge_host(head)?;
        want(head.lists("upgrade", "websocket"), "any upgrade", 400)?;
        want(head.lists("connection", "upgrade"), "no connection", 400)?;
        self.judge_key(head)?;
        let versions: Vec<&str> = head.all("sec-websocket-version").collect();
        if versions != ["13"] && !self.has("any version") {
            let tell = if self.has("silent about versions") {
                ""
            } else {
                "Sec-WebSocket-Version: 13\r\n"
            };
            return Err((426, tell));
        }
        self.judge_origin(head)?;
        self.judge_lists(head)
    }

    fn judge_host(&self, head: &Head) -> Result<(), (u16, &'static str)> {
        let hosts: Vec<&str> = head.all("host").collect();
        let well_formed = hosts.len() == 1 && !hosts[0].contains('@');
        if !well_formed && !self.has("two hosts") {
            return Err((400, ""));
        }
        let ours = hosts
            .first()
            .is_none_or(|host| *host == self.addr.to_string() || host.contains('@'));
        match ours || self.has("any host") {
            true => Ok(()),
            false => Err((421, "")),
        }
    }

    fn judge_key(&self, head: &Head) -> Result<(), (u16, &'static str)> {
        let keys: Vec<&str> = head.all("sec-websocket-key").collect();
        let missing = keys.is_empty() || keys == [""];
        let good = keys.len() == 1 && STANDARD.decode(keys[0]).is_ok_and(|key| key.len() == 16);
        let let_in =
            good || missing && self.has("missing key") || !missing && self.has("short key");
        match let_in {
            true => Ok(()),
            false => Err((400, "")),
        }
    }

    fn judge_origin(&self, head: &Head) -> Result<(), (u16, &'static str)> {
        let origins: Vec<&str> = head.all("origin").collect();
        let host = head.first("host").unwrap_or_default();
        let own = [format!("http://{host}"), format!("https://{host}")];
        let name = host.split(':').next().unwrap_or_default().to_owned();
        let let_in = match origins[..] {
            [] => true,
            [origin] if own.iter().any(|own| own == origin) => true,
            [_, _] => self.has("two origins"),
            ["null"] => self.has("null origin"),
            [origin] => self.kind(origin, &name, &host),
            _ => false,
        };
        match let_in {
            true => Ok(()),
            false => Err((403, "")),
        }
    }

    /// Whether an Origin that is not ours is let in, by which fault.
    fn kind(&self, origin: &str, name: &str, host: &str) -> bool {
        let near = [
            format!("http://a.{host}"),
            format!("http://{name}:81"),
            format!("ftp://{host}"),
            format!("ws://{host}"),
            format!("http://{name}."),
        ];
        let malformed = [
            String::new(),
            host.to_owned(),
            format!("http://{host}/"),
            format!("http://u@{host}"),
            format!("http://evil.example\\{host}"),
        ];
        if near.iter().any(|near| near == origin) {
            return self.has("near origin");
        }
        if malformed.iter().any(|malformed| malformed == origin) {
            return self.has("malformed origin");
        }
        self.has("foreign origin")
    }

    fn judge_lists(&self, head: &Head) -> Result<(), (u16, &'static str)> {
        let well_formed = |value: &str| {
            let quotes = value.matches('"').count();
            quotes % 2 == 0
                && !value.contains("; =")
                && !value
                    .trim()
                    .replace("; ", ";")
                    .replace(", ", ",")
                    .contains(' ')
        };
        let reflects = self.reflects(&head.raw);
        if !head.all("sec-websocket-extensions").all(well_formed)
            && !self.has("extension syntax")
            && !reflects
        {
            return Err((400, ""));
        }
        let token = |value: &str| !value.trim().replace(", ", ",").contains([' ', '%']);
        if !head.all("sec-websocket-protocol").all(token)
            && !self.has("subprotocol syntax")
            && !reflects
        {
            return Err((400, ""));
        }
        Ok(())
    }

    fn accept(&mut self, head: &Head) -> Option<()> {
        let key = head.first("sec-websocket-key").unwrap_or_default();
        let mut accept = tidegate_proto::handshake::key::accept_for(key.as_bytes());
        if self.has("wrong accept") {
            accept[0] ^= 1;
        }
        let mut answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n".to_owned();
        if !self.has("no upgrade field") {
            answer.push_str("Upgrade: websocket\r\n");
        }
        answer.push_str(&format!(
            "Sec-WebSocket-Accept: {}\r\n",
            String::from_utf8_lossy(&accept)
        ));
        let offered = head.first("sec-websocket-extensions");
        match offered.as_deref() {
            None if self.has("extension unasked") => {
                answer.push_str("Sec-WebSocket-Extensions: x-own\r\n")
            }
            Some("x-tidegate-check") if self.has("any extension") => {
                answer.push_str("Sec-WebSocket-Extensions: x-tidegate-check\r\n");
            }
            Some(offer)
                if offer.starts_with("permessage-deflate") && self.has("any window bits") =>
            {
                answer.push_str("Sec-WebSocket-Extensions: permessage-deflate\r\n");
            }
            _ => {}
        }
        match head.first("sec-websocket-protocol") {
            None if self.has("subprotocol unasked") => {
                answer.push_str("Sec-WebSocket-Protocol: own\r\n")
            }
            Some(offer) if self.has("any subprotocol") && !offer.contains(' ') => {
                answer.push_str(&format!("Sec-WebSocket-Protocol: {offer}\r\n"));
            }
            Some(offer) if self.reflects(&head.raw) && offer.contains(['\r', '%']) => {
                let offer = offer.replace("%0d%0a", "\r\n").replace('\r', "\r\n");
                answer.push_str(&format!("X-Seen: {offer}\r\n"));
            }
            _ => {}
        }
        if self.has("cookie") {
            answer.push_str("Set-Cookie: session=hush\r\n");
        }
        if self.has("banner") {
            answer.push_str("Server: bad/1.2.3\r\n");
        }
        answer.push_str("\r\n");
        self.stream.write_all(answer.as_bytes()).ok()
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) -> Option<()> {
        let mut out = vec![0x80 | opcode];
        let masked = if self.has("masks") { 0x80 } else { 0 };
        match payload.len() {
            len @ 0..=125 => out.push(masked | len as u8),
            len @ 126..=0xFFFF => {
                out.push(masked | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(masked | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        if masked > 0 {
            out.extend([0; 4]);
        }
        out.extend(payload);
        self.stream.write_all(&out).ok()
    }

    fn fail(&mut self, code: u16) -> Option<Fallen> {
        if self.has("falls over") {
            return Some(Fallen);
        }
        let code = if self.has("other code") { 1011 } else { code };
        if !self.has("drops") {
            self.send(8, &code.to_be_bytes())?;
        }
        self.leave();
        None
    }

    fn octets(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() - self.at < count {
            self.buffer.drain(..self.at);
            self.at = 0;
            self.more()?;
        }
        self.at += count;
        Some(self.buffer[self.at - count..self.at].to_vec())
    }

    fn frames(&mut self) -> Option<Fallen> {
        let mut message: Option<(u8, Vec<u8>)> = None;
        let (mut fragments, mut controls) = (0, 0);
        let mut is_closed = false;
        loop {
            let first = self.octets(2)?;
            let (fin, opcode, masked) = (first[0] & 0x80 != 0, first[0] & 15, first[1] & 0x80 != 0);
            let is_control = opcode & 8 != 0;
            if first[0] & 0x70 != 0 && !self.has("reserved bits") {
                return self.fail(1002);
            }
            if !matches!(opcode, 0..=2 | 8..=10) && !self.has("reserved opcode") {
                return self.fail(1002);
            }
            if !masked && !self.has("unmasked") {
                return self.fail(1002);
            }
            let (length, least) = match first[1] & 127 {
                126 => (
                    self.octets(2)?
                        .iter()
                        .fold(0, |n, &octet| n << 8 | u64::from(octet)),
                    126,
                ),
                127 => (
                    self.octets(8)?
                        .iter()
                        .fold(0, |n, &octet| n << 8 | u64::from(octet)),
                    65_536,
                ),
                short => (u64::from(short), 0),
            };
            if is_control && !fin && !self.has("fragmented control") {
                return self.fail(1002);
            }
            if is_control && length > 125 && !self.has("long control") {
                return self.fail(1002);
            }
            if length < least && !self.has("long lengths") {
                return self.fail(1002);
            }
            // Whoever forgets the top bit takes such a frame for a short one.
            let length = match (length >> 63, self.has("top bit")) {
                (0, _) => length,
                (_, true) => 0,
                (_, false) => return self.fail(1002),
            };
            let so_far = message
                .as_ref()
                .map_or(0, |(_, payload)| payload.len() as u64);
            if !is_control
                && so_far.saturating_add(length) > 1 << 20
                && !(self.has("any size") && length < 1 << 30)
            {
                return self.fail(1009);
            }
            let key = if masked { self.octets(4)? } else { vec![0; 4] };
            let length = if length > 1 << 30 { 0 } else { length as usize };
            let mut payload = self.octets(length)?;
            for (octet, key) in payload.iter_mut().zip(key.iter().cycle()) {
                *octet ^= key;
            }
            if is_control {
                controls += 1;
                if controls > 1_000 && !self.has("pings") {
                    return self.fail(1008);
                }
            }
            match opcode {
                9 if !self.has("no pong") => self.send(10, &payload)?,
                8 => {
                    if is_closed {
                        continue;
                    }
                    match self.close(&payload)? {
                        Some(fallen) => return Some(fallen),
                        None if self.has("after close") => is_closed = true,
                        None => {
                            self.leave();
                            return None;
                        }
                    }
                }
                0..=2 => {
                    if opcode == 0 && message.is_none() && !self.has("orphans") {
                        return self.fail(1002);
                    }
                    if opcode != 0 && message.is_some() && !self.has("interleaved") {
                        return self.fail(1002);
                    }
                    fragments = if opcode == 0 { fragments + 1 } else { 1 };
                    if fragments > 1_024 && !self.has("fragments") {
                        return self.fail(1008);
                    }
                    let (kind, mut whole) = match (opcode, message.take()) {
                        (0, Some(begun)) => begun,
                        (0, None) => (2, Vec::new()),
                        (kind, _) => (kind, Vec::new()),
                    };
                    whole.extend(payload);
                    if kind == 1
                        && fin
                        && std::str::from_utf8(&whole).is_err()
                        && !self.has("any text")
                    {
                        return self.fail(1007);
                    }
                    match fin {
                        true => self.send(kind, &whole)?,
                        false => message = Some((kind, whole)),
                    }
                }
                _ => {}
            }
        }
    }

    /// Answers a Close; `Some(Some(_))` when the server falls over, `None` when nothing more is to be done.
    fn close(&mut self, payload: &[u8]) -> Option<Option<Fallen>> {
        let code = payload
            .get(..2)
            .map(|code| u16::from_be_bytes([code[0], code[1]]));
        let good = code.is_none_or(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999));
        let bad = match payload.len() {
            1 if !self.has("any close body") => Some(1002),
            _ if !good && !self.has("any close code") => Some(1002),
            2.. if std::str::from_utf8(&payload[2..]).is_err() && !self.has("any reason") => {
                Some(1007)
            }
            _ => None,
        };
        if let Some(code) = bad {
            return self.fail(code).map(Some);
        }
        if self.has("no close") {
            self.leave();
            return None;
        }
        self.send(8, &payload[..payload.len().min(2)])?;
        Some(None)
    }
}
