//! One run of the suite in one role: starts the engine's processes, our peer and what lies between, and collects
//! the reports. It judges nothing.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::cases;
use super::children::Child;
use super::engine::{AGENT, Engine};
use super::verdict::Verdict;
use crate::server::{self, Server};
use crate::sh::{self, Result, free_port};
use crate::tree;

/// Which end of the connection is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// `tidegate serve`, examined by a fuzzing client.
    Server,
    /// The example `autobahn` on the protocol core, examined by a fuzzing server.
    Client,
    /// The example `peer` with `accept()`, examined by a fuzzing client.
    Accept,
    /// The same through upgrades of hyper.
    Hyper,
    /// The same through the extractor of axum.
    Axum,
    /// The example `peer` with `connect()`, examined by a fuzzing server.
    Connect,
    /// `tidegate guard` before `tidegate serve`, with compression on, examined by a fuzzing client.
    Guard,
    /// The same with compression declined, which is the guard's default.
    Declining,
    /// `tidegate guard` between our client and a fuzzing server, which examines the guard's other side; compression on.
    Calling,
    /// The same with compression declined.
    CallingDeclining,
}

impl Role {
    pub(crate) const ALL: [Role; 2] = [Role::Server, Role::Client];
    /// Those of the async face.
    pub(crate) const ASYNC: [Role; 4] = [Role::Accept, Role::Hyper, Role::Axum, Role::Connect];
    /// Those of the gateway.
    pub(crate) const GUARD: [Role; 4] = [
        Role::Guard,
        Role::Declining,
        Role::Calling,
        Role::CallingDeclining,
    ];

    /// The role of this name; `async` are the four of the async face, `guards` the four of the gateway.
    pub(super) fn read(name: &str) -> Result<Vec<Self>> {
        let all = Self::ALL.into_iter().chain(Self::ASYNC).chain(Self::GUARD);
        let named: Vec<Self> = match name {
            "async" => Self::ASYNC.to_vec(),
            "guards" => Self::GUARD.to_vec(),
            _ => all.filter(|role| role.name() == name).collect(),
        };
        if named.is_empty() {
            let there = "there are server, client, accept, hyper, axum, connect, guard, guard-declining, \
                         guard-calling, guard-calling-declining, async and guards";
            return Err(format!("no role {name}; {there}").into());
        }
        Ok(named)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Accept => "accept",
            Self::Hyper => "hyper",
            Self::Axum => "axum",
            Self::Connect => "connect",
            Self::Guard => "guard",
            Self::Declining => "guard-declining",
            Self::Calling => "guard-calling",
            Self::CallingDeclining => "guard-calling-declining",
        }
    }

    /// The name of a run, and of its kept summary.
    pub(crate) fn with(self, tls: bool) -> String {
        format!("{}-{}", self.name(), if tls { "tls" } else { "plain" })
    }

    /// Whether a case can ask this role anything. Some want the echo of what came right before a breach: through the guard
    /// the pair may be parted by then. 12 and 13 ask nothing where compression is declined. And the guard never asks its
    /// upstream for what 13.2, 13.5 and 13.6 want of a client.
    pub(super) fn takes(self, case: &str) -> bool {
        const ECHO_THEN_BREACH: [&str; 10] = [
            "3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15",
        ];
        let none: &[&str] = match self {
            Self::Guard => &[],
            Self::Declining | Self::CallingDeclining => &["12.", "13."],
            Self::Calling => &["13.2.", "13.5.", "13.6."],
            _ => return true,
        };
        let never = none.iter().any(|group| case.starts_with(group));
        !never && !ECHO_THEN_BREACH.contains(&case)
    }

    /// The guard's own calls are examined.
    fn is_calling(self) -> bool {
        matches!(self, Self::Calling | Self::CallingDeclining)
    }

    /// Deals the cases among about `shards` processes. `connect()` takes some of them with another setting than
    /// the rest, so those are dealt by themselves.
    pub(super) fn deal(self, cases: &[String], shards: usize) -> Vec<Vec<String>> {
        if self != Self::Connect {
            return cases::deal(cases, shards);
        }
        let (alone, with) = cases.iter().cloned().partition(|case| wants_alone(case));
        let parts: [Vec<String>; 2] = [with, alone];
        let parts = parts.iter().filter(|part| !part.is_empty());
        parts
            .flat_map(|part| cases::deal(part, shards.div_ceil(2)))
            .collect()
    }

    pub(super) fn title(self, tls: bool) -> String {
        let scheme = if tls { "wss" } else { "ws" };
        match self {
            Self::Server => format!("`tidegate serve` as the server, /echo, {scheme}"),
            Self::Client => format!("the protocol core as the client, {scheme}"),
            Self::Accept => format!("the library's accept() as the server, {scheme}"),
            Self::Hyper => format!("the library behind hyper as the server, {scheme}"),
            Self::Axum => format!("the library behind axum as the server, {scheme}"),
            Self::Connect => format!("the library's connect() as the client, {scheme}"),
            Self::Guard => format!("`tidegate guard` before /echo, deflate on, {scheme}"),
            Self::Declining => format!("`tidegate guard` before /echo, deflate declined, {scheme}"),
            Self::Calling => {
                format!("`tidegate guard` as the client of its upstream, deflate on, {scheme}")
            }
            Self::CallingDeclining => {
                format!(
                    "`tidegate guard` as the client of its upstream, deflate declined, {scheme}"
                )
            }
        }
    }
}

/// What one run needs to know.
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) tls: bool,
    /// The cases of each process.
    pub(super) hands: Vec<Vec<String>>,
    /// The server under test.
    pub(super) binary: PathBuf,
    /// Or where one runs already.
    pub(super) url: Option<String>,
    pub(super) out: PathBuf,
    pub(super) limit: Duration,
}

impl Run {
    pub(super) fn verdict<'a>(&self, role: Role, asked: &'a [String]) -> Result<Verdict<'a>> {
        for shard in 0..self.hands.len() {
            std::fs::create_dir_all(self.folder(shard))?;
        }
        match role {
            Role::Server => self.server()?,
            Role::Accept | Role::Hyper | Role::Axum => self.door(role.name())?,
            Role::Client | Role::Connect | Role::Calling | Role::CallingDeclining => {
                self.client(role)?
            }
            Role::Guard | Role::Declining => self.guarded(role)?,
        }
        let mut verdict = Verdict::new(asked);
        for shard in 0..self.hands.len() {
            let folder = self.folder(shard);
            verdict.add(&folder.join("report")).map_err(|why| {
                let log = std::fs::read_to_string(folder.join("engine.log")).unwrap_or_default();
                format!("{why}\n{}", sh::tail(&log, 20))
            })?;
        }
        Ok(verdict)
    }

    fn folder(&self, shard: usize) -> PathBuf {
        self.out.join(format!("shard-{shard}"))
    }

    /// Puts the cases to a server.
    fn server(&self) -> Result<()> {
        match &self.url {
            Some(url) => self.ask(url),
            None if self.tls => self.secure_server(),
            None => {
                let server = Server::start(&self.binary, &[])?;
                self.ask(&format!("ws://127.0.0.1:{}/echo", server.port()))?;
                server.stop()
            }
        }
    }

    /// Puts the cases to a server with the guard before it.
    fn guarded(&self, role: Role) -> Result<()> {
        let server = Server::start(&self.binary, &[])?;
        let peer = self.tls.then(|| Peer::build(true)).transpose()?;
        let pair = peer.as_ref().map(|peer| &*peer.pair);
        let upstream = format!("ws://127.0.0.1:{}", server.port());
        let (_guard, port) = self.guard(role, &upstream, pair, &self.out)?;
        match &peer {
            Some(peer) if !self.engine.has_tls() => {
                let address = format!("127.0.0.1:{port}");
                let (_tunnel, port) = peer.tunnel("wrap", &address, &self.out)?;
                self.ask(&format!("ws://127.0.0.1:{port}/echo"))?;
            }
            Some(_) => self.ask(&format!("wss://127.0.0.1:{port}/echo"))?,
            None => self.ask(&format!("ws://127.0.0.1:{port}/echo"))?,
        }
        server.stop()
    }

    /// A guard before a server of this machine, and its own port. The pair is its certificate, or what vouches for its
    /// upstream. Its limits are those of `/echo`; content rules watch.
    fn guard(
        &self,
        role: Role,
        upstream: &str,
        pair: Option<&Path>,
        folder: &Path,
    ) -> Result<(Child, u16)> {
        let deflate = match role {
            Role::Declining | Role::CallingDeclining => "declined",
            _ => "on",
        };
        let policy = folder.join("guard.toml");
        std::fs::write(&policy, GUARD_POLICY.replace("DEFLATE", deflate))?;
        let mut command = Command::new(&self.binary);
        command
            .args(["guard", "--listen", "127.0.0.1:0", "--admin", "off"])
            .args(["--log", "warn", "--upstream", upstream])
            .arg("--policy")
            .arg(&policy);
        if let Some(pair) = pair.filter(|_| role.is_calling()) {
            command.arg("--upstream-ca").arg(pair.join("cert.pem"));
        } else if let Some(pair) = pair {
            command.arg("--tls-cert").arg(pair.join("cert.pem"));
            command.arg("--tls-key").arg(pair.join("key.pem"));
        }
        let mut guard = Child::start(command, &folder.join("guard.log"))?;
        let port = guard.until(|child| child.said().lines().find_map(server::port_in))?;
        Ok((guard, port))
    }

    fn secure_server(&self) -> Result<()> {
        let peer = Peer::build(true)?;
        let file = |name| peer.pair.join(name).to_string_lossy().into_owned();
        let (certificate, key) = (file("cert.pem"), file("key.pem"));
        let flags = ["--tls-cert", &certificate, "--tls-key", &key];
        let server = Server::start(&self.binary, &flags)?;
        if self.engine.has_tls() {
            self.ask(&format!("wss://127.0.0.1:{}/echo", server.port()))?;
        } else {
            let address = format!("127.0.0.1:{}", server.port());
            let (_tunnel, port) = peer.tunnel("wrap", &address, &self.out)?;
            self.ask(&format!("ws://127.0.0.1:{port}/echo"))?;
        }
        server.stop()
    }

    /// Puts the cases to the library behind one of its doors.
    fn door(&self, door: &str) -> Result<()> {
        let peer = Peer::build(self.tls)?;
        let mut command = Command::new(&peer.program_async);
        command.args(["echo", door]);
        if self.tls {
            command.arg(&peer.pair);
        }
        let mut server = Child::start(command, &self.out.join("server.log"))?;
        let port = server.until(Child::port)?;
        if self.tls && self.engine.has_tls() {
            self.ask(&format!("wss://127.0.0.1:{port}/echo"))
        } else if self.tls {
            let (_tunnel, port) = peer.tunnel("wrap", &format!("127.0.0.1:{port}"), &self.out)?;
            self.ask(&format!("ws://127.0.0.1:{port}/echo"))
        } else {
            self.ask(&format!("ws://127.0.0.1:{port}/echo"))
        }
    }

    /// Runs the engine's clients side by side.
    fn ask(&self, url: &str) -> Result<()> {
        let deadline = Instant::now() + self.limit;
        let mut engines = Vec::new();
        for (shard, cases) in self.hands.iter().enumerate() {
            let folder = self.folder(shard);
            let command = self.engine.client(url, cases, &folder)?;
            engines.push(Child::start(command, &folder.join("engine.log"))?);
        }
        // The engines exit with 0 or 1 as they see it; what counts is their report, judged by us.
        engines
            .iter_mut()
            .try_for_each(|engine| engine.wait(deadline))
    }

    /// Has our client take the cases of fuzzing servers.
    fn client(&self, role: Role) -> Result<()> {
        let peer = Peer::build(self.tls)?;
        let deadline = Instant::now() + self.limit;
        let mut rows = Vec::new();
        for (shard, cases) in self.hands.iter().enumerate() {
            let folder = self.folder(shard);
            let mut port = free_port()?;
            let own_tls = (self.tls && self.engine.has_tls()).then_some(&*peer.pair);
            let command = self.engine.server(port, own_tls, cases, &folder)?;
            let mut engine = Child::start(command, &folder.join("engine.log"))?;
            engine.until(|_| TcpStream::connect(("127.0.0.1", port)).ok())?;
            let mut between = Vec::new();
            if self.tls && !self.engine.has_tls() {
                let (child, own) = peer.tunnel("unwrap", &format!("127.0.0.1:{port}"), &folder)?;
                between.push(child);
                port = own;
            }
            // What is examined is its TLS, too: our client then speaks to it without.
            if role.is_calling() {
                let scheme = if self.tls { "wss" } else { "ws" };
                let upstream = format!("{scheme}://127.0.0.1:{port}");
                let pair = self.tls.then_some(&*peer.pair);
                let (child, own) = self.guard(role, &upstream, pair, &folder)?;
                between.push(child);
                port = own;
            }
            let alone = cases.iter().any(|case| wants_alone(case));
            let command = peer.client(role, port, alone);
            let client = Child::start(command, &folder.join("client.log"))?;
            rows.push((engine, between, client));
        }
        for (engine, _between, client) in &mut rows {
            client
                .wait(deadline)
                .map_err(|why| format!("the client: {why}\nthe engine:\n{}", engine.tail()))?;
            // wstest has written its report when it closes the last connection, and serves on; kosoku writes it
            // and ends.
            if self.engine == Engine::Kosoku {
                engine.wait(Instant::now() + REPORT)?;
            }
        }
        Ok(())
    }
}

/// The example `autobahn`: our client, and TLS for an engine that has none. And the example `peer`: the async face.
struct Peer {
    program: PathBuf,
    program_async: PathBuf,
    tls: bool,
    /// The folder with the certificate of this run.
    pair: PathBuf,
}

impl Peer {
    fn build(tls: bool) -> Result<Self> {
        server::build_dev()?;
        let examples = tree::target().join("debug/examples");
        let program = examples.join("autobahn");
        let pair = tree::target().join("conformance/certificate");
        if tls {
            std::fs::create_dir_all(&pair)?;
            sh::must(Command::new(&program).arg("certificate").arg(&pair))?;
        }
        Ok(Self {
            program,
            program_async: examples.join("peer"),
            tls,
            pair,
        })
    }

    /// `alone`: a client of the async face offers not to take over its context. The one on the core always does.
    fn client(&self, role: Role, port: u16, alone: bool) -> Command {
        let (program, word) = match role {
            Role::Connect => (&self.program_async, "autobahn"),
            _ => (&self.program, "client"),
        };
        let mut command = Command::new(program);
        let tls = self.tls && !role.is_calling();
        let scheme = if tls { "wss" } else { "ws" };
        command.args([word, &format!("{scheme}://127.0.0.1:{port}"), AGENT]);
        if alone && role == Role::Connect {
            command.arg("--no-takeover");
        }
        if tls {
            command.arg(self.pair.join("cert.pem"));
        }
        command
    }

    /// A tunnel to `address`, and the port where it listens.
    fn tunnel(&self, way: &str, address: &str, folder: &Path) -> Result<(Child, u16)> {
        let mut command = Command::new(&self.program);
        command.args([way, address]);
        command.arg(match way {
            "wrap" => self.pair.join("cert.pem"),
            _ => self.pair.clone(),
        });
        let mut child = Child::start(command, &folder.join("tunnel.log"))?;
        let port = child.until(Child::port)?;
        Ok((child, port))
    }
}

/// The case wants a client that offers `client_no_context_takeover`, for the server to take it up: without it 13.2,
/// 13.5 and 13.6 are UNIMPLEMENTED and 13.7 asks less. Such a client sends each message by itself, so all other
/// cases are put to one that keeps its context.
fn wants_alone(case: &str) -> bool {
    const ASKING: [&str; 4] = ["13.2.", "13.5.", "13.6.", "13.7."];
    ASKING.iter().any(|group| case.starts_with(group))
}

/// Room for what the suite sends, and no budget that it would meet: 9.3 and 9.4 echo 4 MiB of one octet.
const GUARD_POLICY: &str = r#"
[limits]
message_size = "32MiB"
fragments = 131072
empty_fragments = 131072
outbox = "64MiB"
message_deadline = "10m"
[rates]
messages = { per_second = 1000000, burst = 1000000 }
bytes = { per_second = "1GiB", burst = "1GiB" }
control = { per_second = 60000, burst = 60000 }
[compression]
deflate = "DEFLATE"
max_ratio = 1032
"#;

/// How long an engine may write at its report.
const REPORT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::super::cases::Preset;
    use super::{Role, wants_alone};

    #[test]
    fn every_role_takes_every_case_once() {
        let all = Preset::Full.cases();
        for role in Role::ALL.into_iter().chain(Role::ASYNC) {
            let mut dealt = role.deal(&all, 2).concat();
            dealt.sort();
            let mut sorted = all.clone();
            sorted.sort();
            assert_eq!(dealt, sorted, "{role:?}");
        }
    }

    #[test]
    fn a_hand_of_connect_is_of_one_setting() {
        let hands = Role::Connect.deal(&Preset::Full.cases(), 2);
        let settings = hands.iter().map(|hand| {
            let alone = hand.iter().filter(|case| wants_alone(case)).count();
            (alone, hand.len() - alone)
        });
        assert_eq!(settings.collect::<Vec<_>>(), [(0, 445), (72, 0)]);
        assert_eq!(Role::Connect.deal(&["1.1.1".to_owned()], 2).len(), 1);
    }
}
