//! `cargo xtask bench guard`: what an echo of 250 B of JSON costs the process in the middle: the guard without content rules
//! and with all of them, beside nginx and haproxy as blind tunnels. Server CPU for each message; every run gets fresh processes;
//! rounds alternate; ratios are taken within a round. It judges nothing but its bars.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::contenders::{CONFIG, Running, on_core, tidegate};
use super::stats::{Ratio, median};
use super::{children, runs, words};
use crate::sh::{Result, free_port};
use crate::{setup, tree};

/// Who stands in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Middle {
    /// The guard, its content rules off.
    Guard,
    /// The guard, every content rule asked of every message, both ways.
    Rules,
    Nginx,
    Haproxy,
}

const ALL: [Middle; 4] = [Middle::Guard, Middle::Rules, Middle::Nginx, Middle::Haproxy];

/// Connections, and messages in flight on each.
const ROWS: [(&str, usize, usize); 2] = [("guard/1/250", 100, 1), ("guard/16/250", 100, 16)];

/// Ours over nginx may be at most so much.
const BARS: [(Middle, f64); 2] = [(Middle::Guard, 1.0), (Middle::Rules, 1.5)];

/// `cargo xtask bench guard [--rounds N] [--seconds S] [--only TEXT] [--binary FILE] [--record | --disturbed]`
pub(super) fn job(rest: &[&str]) -> Result<()> {
    words::only(
        rest,
        &["--rounds", "--seconds", "--only", "--binary"],
        &["--record", "--disturbed"],
    )?;
    let record = rest.contains(&"--record");
    let disturbed = rest.contains(&"--disturbed");
    if record && disturbed {
        return Err("disturbed runs are not recorded".into());
    }
    let (rounds, seconds) = (
        words::number(rest, "--rounds", 5)?,
        words::number(rest, "--seconds", 1.5)?,
    );
    let only = words::value(rest, "--only")?.unwrap_or_default();
    let bench = Bench {
        programs: Programs::prepare(words::value(rest, "--binary")?)?,
        seconds,
        most: if disturbed { f64::INFINITY } else { 1.0 / 3.0 },
        cores: std::thread::available_parallelism()?.get(),
    };
    let earlier = record.then(|| runs::earlier_today("guard")).transpose()?;
    let earlier = earlier
        .flatten()
        .and_then(|run| run["rows"].as_object().cloned());
    let mut rows = earlier.unwrap_or_default();
    for (name, connections, depth) in ROWS.iter().filter(|row| row.0.contains(only)) {
        let table = Table::fill(&bench, *connections, *depth, rounds);
        print!("{}", table.text());
        rows.insert((*name).to_owned(), table.json(rounds));
        if record {
            runs::keep("guard", json!({ "rows": &rows }))?;
        }
    }
    Ok(())
}

struct Bench {
    programs: Programs,
    seconds: f64,
    /// Cores that others may use.
    most: f64,
    /// How many there are.
    cores: usize,
}

/// What one run showed.
#[derive(Clone)]
struct Said {
    messages: u64,
    seconds: f64,
    /// CPU time of the process in the middle.
    middle_ns: u64,
    /// Of the server behind it, and of the load.
    behind_ns: u64,
    load_ns: u64,
    /// Cores that others used.
    others: f64,
}

struct Table {
    what: String,
    /// By [`ALL`]; `None` is a run that others disturbed, or that failed.
    columns: Vec<Vec<Option<Said>>>,
    faults: Vec<String>,
}

impl Table {
    fn fill(bench: &Bench, connections: usize, depth: usize, rounds: usize) -> Table {
        let what = format!(
            "echo through it, {connections} connections, 250 B of JSON, {depth} in flight each"
        );
        println!("\n{what}");
        let mut table = Table {
            what,
            columns: ALL.map(|_| Vec::new()).to_vec(),
            faults: Vec::new(),
        };
        // As many rounds again may be spent on those that were disturbed, no more.
        let (mut good, mut round) = (0, 0);
        while good < rounds && round < 2 * rounds {
            let mut dropped = 0;
            for (middle, column) in ALL.iter().zip(&mut table.columns) {
                column.push(match bench.run(*middle, connections, depth) {
                    Ok(said) if said.others <= bench.most => Some(said),
                    Ok(_) => {
                        dropped += 1;
                        None
                    }
                    Err(why) => {
                        println!("  {}: {why}", middle.name());
                        table.faults.push(format!("{}: {why}", middle.name()));
                        None
                    }
                });
            }
            round += 1;
            good += usize::from(dropped == 0);
            println!("  round {round}, {dropped} dropped");
        }
        table
    }

    fn costs(&self, middle: Middle) -> Vec<Option<f64>> {
        let at = ALL.iter().position(|one| *one == middle);
        let runs = at.map_or(&[][..], |at| &self.columns[at]);
        let cost = |said: &Said| said.middle_ns as f64 / said.messages as f64;
        runs.iter().map(|run| run.as_ref().map(cost)).collect()
    }

    fn ratio(&self, ours: Middle, theirs: Middle) -> Option<Ratio> {
        Ratio::of(&self.costs(ours), &self.costs(theirs))
    }

    fn bars(&self) -> Vec<(Middle, f64, Ratio)> {
        let bars = BARS.into_iter();
        bars.filter_map(|(ours, most)| Some((ours, most, self.ratio(ours, Middle::Nginx)?)))
            .collect()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "  {:<28}{:>10}{:>14}{:>14}{:>6}\n",
            "", "ns each", "of nginx", "of haproxy", "runs"
        );
        for middle in ALL {
            let costs: Vec<f64> = self.costs(middle).into_iter().flatten().collect();
            let of = |theirs| {
                self.ratio(middle, theirs).map_or("-".to_owned(), |ratio| {
                    format!("{:.2} < {:.2}", ratio.median, ratio.upper)
                })
            };
            let _ = writeln!(
                text,
                "  {:<28}{:>10.0}{:>14}{:>14}{:>6}",
                middle.name(),
                median(&costs).unwrap_or(f64::NAN),
                of(Middle::Nginx),
                of(Middle::Haproxy),
                costs.len()
            );
        }
        for (ours, most, ratio) in self.bars() {
            let word = if ratio.upper <= most {
                "met   "
            } else {
                "MISSED"
            };
            let _ = writeln!(
                text,
                "  {word} {} over nginx: {:.3} (median {:.3}), at most {most}",
                ours.name(),
                ratio.upper,
                ratio.median
            );
        }
        text
    }

    fn json(&self, rounds: usize) -> Value {
        let mut servers = Map::new();
        for (middle, column) in ALL.iter().zip(&self.columns) {
            let costs: Vec<f64> = self.costs(*middle).into_iter().flatten().collect();
            let over = |theirs| {
                let ratio = self.ratio(*middle, theirs);
                ratio.map(|ratio| json!({ "median": ratio.median, "upper_95": ratio.upper }))
            };
            let runs = column.iter().flatten().map(|said| {
                json!({
                    "messages": said.messages, "seconds": said.seconds, "middle_ns": said.middle_ns,
                    "behind_ns": said.behind_ns, "load_ns": said.load_ns, "others_cores": said.others,
                })
            });
            let column = json!({
                "median": median(&costs),
                "over_nginx": over(Middle::Nginx),
                "over_haproxy": over(Middle::Haproxy),
                "runs": runs.collect::<Vec<Value>>(),
            });
            servers.insert(middle.name().to_owned(), column);
        }
        let bars = self.bars().into_iter().map(|(ours, most, ratio)| {
            json!({
                "ours": ours.name(), "beside": "nginx", "at_most": most,
                "median": ratio.median, "upper_95": ratio.upper, "met": ratio.upper <= most,
            })
        });
        json!({
            "what": self.what,
            "rounds": rounds,
            "servers": servers,
            "must_reach": bars.collect::<Vec<Value>>(),
            "faults": self.faults,
        })
    }
}

impl Middle {
    fn name(self) -> &'static str {
        match self {
            Middle::Guard => "guard, rules off",
            Middle::Rules => "guard, all rules",
            Middle::Nginx => "nginx",
            Middle::Haproxy => "haproxy",
        }
    }
}

impl Bench {
    /// Fresh processes, a warm-up of a quarter, and then what is measured.
    fn run(&self, middle: Middle, connections: usize, depth: usize) -> Result<Said> {
        let behind = self.programs.behind()?;
        let server = self.programs.start(middle, behind.port)?;
        // Only now: who starts others on the one core would give them no other.
        self.load_to(1..2)?;
        let said = self.measured(&server, &behind, connections, depth);
        self.load_to(0..self.cores)?;
        said
    }

    /// Binds the load to these cores, where there are two.
    fn load_to(&self, cores: std::ops::Range<usize>) -> Result<()> {
        match self.cores {
            0 | 1 => Ok(()),
            _ => children::bind(std::process::id(), cores),
        }
    }

    fn measured(
        &self,
        server: &Running,
        behind: &Running,
        connections: usize,
        depth: usize,
    ) -> Result<Said> {
        let mut load = Load::open(server.port, connections, depth)?;
        load.echo(self.seconds / 4.0)?;
        let me = std::process::id();
        let used = children::cpu_ns;
        let before = [used(server.pid())?, used(behind.pid())?, used(me)?];
        let (machine, start) = (children::machine_ns()?, Instant::now());
        let messages = load.echo(self.seconds)?;
        let seconds = start.elapsed().as_secs_f64();
        let machine = children::machine_ns()?.saturating_sub(machine);
        let after = [used(server.pid())?, used(behind.pid())?, used(me)?];
        let [middle_ns, behind_ns, load_ns] = [0, 1, 2].map(|at| after[at] - before[at]);
        let known = middle_ns + behind_ns + load_ns;
        Ok(Said {
            messages,
            seconds,
            middle_ns,
            behind_ns,
            load_ns,
            others: machine.saturating_sub(known) as f64 / 1e9 / seconds,
        })
    }
}

/// What is started.
struct Programs {
    tidegate: PathBuf,
    nginx: PathBuf,
    haproxy: PathBuf,
    folder: PathBuf,
}

impl Programs {
    fn prepare(binary: Option<&str>) -> Result<Programs> {
        setup::ensure("proxies")?;
        let folder = tree::target().join("bench-guard");
        fs::create_dir_all(&folder)?;
        println!("building what is measured");
        Ok(Programs {
            tidegate: binary.map_or_else(tidegate, |file| Ok(file.into()))?,
            nginx: setup::proxy("nginx").ok_or("there is no nginx")?,
            haproxy: setup::proxy("haproxy").ok_or("there is no haproxy")?,
            folder,
        })
    }

    /// The server behind all of them, on the load's core: what it costs is not measured.
    fn behind(&self) -> Result<Running> {
        let config = self.file("behind.toml", CONFIG)?;
        let mut command = on_core(1, &self.tidegate, 1);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "off"]);
        command.args(["--log", "warn", "--workers", "1", "--config"]);
        Running::telling(arg(command, &config), "tidegate serve")
    }

    /// The one in the middle, on a core of its own.
    fn start(&self, middle: Middle, upstream: u16) -> Result<Running> {
        let port = free_port()?;
        let of = |text: &str| {
            text.replace("FOLDER", &self.folder.display().to_string())
                .replace("UPSTREAM", &upstream.to_string())
                .replace("PORT", &port.to_string())
        };
        let mode = match middle {
            Middle::Rules => "block",
            _ => "off",
        };
        match middle {
            Middle::Guard | Middle::Rules => {
                let policy = self.file("guard.toml", &POLICY.replace("MODE", mode))?;
                let mut command = on_core(0, &self.tidegate, 1);
                command.args(["guard", "--listen", &format!("127.0.0.1:{port}")]);
                command.args(["--upstream", &format!("ws://127.0.0.1:{upstream}")]);
                command.args(["--admin", "off", "--log", "warn", "--workers", "1"]);
                command.arg("--policy");
                Running::awaited(arg(command, &policy), middle.name(), port)
            }
            Middle::Nginx => {
                let file = self.file("nginx.conf", &of(NGINX))?;
                let mut command = on_core(0, &self.nginx, 1);
                command.arg("-p").arg(&self.folder);
                command.arg("-e").arg(self.folder.join("nginx.log"));
                command.arg("-c");
                Running::awaited(arg(command, &file), middle.name(), port)
            }
            Middle::Haproxy => {
                let file = self.file("haproxy.cfg", &of(HAPROXY))?;
                let mut command = on_core(0, &self.haproxy, 1);
                command.args(["-db", "-f"]);
                Running::awaited(arg(command, &file), middle.name(), port)
            }
        }
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

fn arg(mut command: Command, file: &Path) -> Command {
    command.arg(file);
    command
}

/// Clients that write one after another and then read one after another: each has `depth` messages on the way.
struct Load {
    clients: Vec<TcpStream>,
    /// What goes out at once, and what must come back for it, octet by octet.
    turns: Vec<(Vec<u8>, Vec<u8>)>,
    depth: usize,
    next: usize,
}

impl Load {
    fn open(port: u16, connections: usize, depth: usize) -> Result<Load> {
        let open = |_| -> Result<TcpStream> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            write!(
                stream,
                "GET /echo?deflate=off HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut octet = [0];
                stream.read_exact(&mut octet)?;
                head.push(octet[0]);
            }
            match head.starts_with(b"HTTP/1.1 101 ") {
                true => Ok(stream),
                false => Err(format!("no 101: {}", String::from_utf8_lossy(&head)).into()),
            }
        };
        Ok(Load {
            clients: (0..connections).map(open).collect::<Result<_>>()?,
            turns: (0..TURNS).map(|turn| frames(turn, depth)).collect(),
            depth,
            next: 0,
        })
    }

    /// Goes on for so long; how many messages came back, each of them right.
    fn echo(&mut self, seconds: f64) -> Result<u64> {
        let (start, mut messages) = (Instant::now(), 0);
        let mut back = vec![0; self.turns[0].1.len()];
        while start.elapsed().as_secs_f64() < seconds {
            for (n, client) in self.clients.iter_mut().enumerate() {
                client.write_all(&self.turns[(self.next + n) % TURNS].0)?;
            }
            for (n, client) in self.clients.iter_mut().enumerate() {
                client.read_exact(&mut back)?;
                if back != self.turns[(self.next + n) % TURNS].1 {
                    return Err("what came back is not what was sent".into());
                }
            }
            messages += (self.clients.len() * self.depth) as u64;
            self.next += 1;
        }
        Ok(messages)
    }
}

/// `depth` frames as a client sends them, and as they come back.
fn frames(turn: usize, depth: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for n in 0..depth {
        let text = message(turn * depth + n);
        let mask = [0x5a, 0x13, turn as u8, n as u8];
        let [high, low] = (text.len() as u16).to_be_bytes();
        there.extend([0x81, 0x80 | 126, high, low]);
        there.extend(mask);
        there.extend(
            text.bytes()
                .zip(mask.iter().cycle())
                .map(|(octet, mask)| octet ^ mask),
        );
        back.extend([0x81, 126, high, low]);
        back.extend(text.bytes());
    }
    (there, back)
}

/// A chat message of 250 octets, as JSON.
fn message(number: usize) -> String {
    const PROSE: &str = "Shall we say a quarter past five at the harbour? I'll bring the charts and, if Tom hasn't \
                         eaten it all, some of the cake. ";
    let head = format!(
        r#"{{"type":"chat","id":"m-{number:08x}","room":"harbour-{}","user":{{"id":{},"name":"Ada"}},"sent":{},"text":""#,
        number % 97,
        1_000 + number % 9_000,
        1_764_374_400_000_u64 + number as u64,
    );
    let room = MESSAGE - head.len() - 2;
    let prose = PROSE.chars().cycle().skip(number % 31).take(room);
    head + &prose.collect::<String>() + "\"}"
}

/// Octets of a message.
const MESSAGE: usize = 250;
/// Unlike messages before they come again.
const TURNS: usize = 128;
const PATIENCE: Duration = Duration::from_secs(20);

/// No budget that the load would meet.
const POLICY: &str = r#"
[rates]
messages = { per_second = 100000000, burst = 100000000 }
bytes = { per_second = "3GiB", burst = "3GiB" }
[rules]
mode = "MODE"
"#;

const NGINX: &str = r#"
daemon off;
master_process off;
pid FOLDER/nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    server {
        listen 127.0.0.1:PORT;
        location / {
            proxy_pass http://127.0.0.1:UPSTREAM;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
        }
    }
}
"#;

const HAPROXY: &str = r"
global
    nbthread 1
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 300s
frontend door
    bind 127.0.0.1:PORT
    default_backend behind
backend behind
    server one 127.0.0.1:UPSTREAM
";

#[cfg(test)]
mod tests {
    use super::{MESSAGE, frames, message};

    #[test]
    fn every_message_is_json_of_one_length_and_none_is_like_the_next() {
        for number in 0..3_000 {
            let text = message(number);
            assert_eq!(text.len(), MESSAGE);
            let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(parsed["type"], "chat");
            assert_ne!(text, message(number + 1));
        }
    }

    #[test]
    fn what_comes_back_is_what_went_out_without_its_mask() {
        let (there, back) = frames(3, 2);
        assert_eq!(
            (there.len(), back.len()),
            (2 * (8 + MESSAGE), 2 * (4 + MESSAGE))
        );
        assert_eq!(there[8] ^ 0x5a, back[4]);
    }
}
