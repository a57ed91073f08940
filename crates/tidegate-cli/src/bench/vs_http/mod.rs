//! `bench vs-http`: is WebSocket faster and cheaper than HTTP for live data? The same updates go to the same number of
//! clients in five ways, one after the other, from a server in a process of its own.
//!
//! ```text
//!   clients (this process) ◄─ WebSocket ────────────── engine ◄─┐
//!                          ◄─ SSE, long polling, ───── hyper  ◄─┴─ one thread that says when an update is due
//!                             polling                  (a child process, which ends with us)
//! ```

mod book;
mod client;
mod counted;
mod server;
mod updates;

pub(crate) use server::run as serve;

use super::args::VsHttp;
use super::driver::{protocol, timeout};
use super::html::{self, Series, Table};
use super::report::{Latency, grouped, span};
use super::target::not_connected;
use super::usage::Cpu;
use crate::error::{Exit, Failure};
use book::Book;
use client::Shared;
use counted::Octets;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use updates::Updates;

/// A way to bring updates to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    WebSocket,
    Sse,
    LongPolling,
    /// Over a connection that is kept.
    Polling,
    /// Over a new connection each time.
    PollingAnew,
}

impl Way {
    const ALL: [Way; 5] = [
        Way::WebSocket,
        Way::Sse,
        Way::LongPolling,
        Way::Polling,
        Way::PollingAnew,
    ];

    /// As the document names it.
    fn key(self) -> &'static str {
        match self {
            Way::WebSocket => "websocket",
            Way::Sse => "sse",
            Way::LongPolling => "long-polling",
            Way::Polling => "polling",
            Way::PollingAnew => "polling-new-connections",
        }
    }

    /// For people.
    fn name(self) -> &'static str {
        match self {
            Way::WebSocket => "WebSocket",
            Way::Sse => "SSE",
            Way::LongPolling => "long polling",
            Way::Polling => "polling, kept connection",
            Way::PollingAnew => "polling, new connections",
        }
    }
}

/// The document.
#[derive(Serialize)]
struct Document {
    schema: u8,
    tidegate: &'static str,
    mode: &'static str,
    outcome: String,
    exit: u8,
    clients: usize,
    rate: f64,
    size: usize,
    interval_ms: f64,
    warmup_seconds: f64,
    ways: Vec<Row>,
}

/// What one way showed.
#[derive(Serialize)]
struct Row {
    way: &'static str,
    seconds: f64,
    /// Updates that came, all clients together.
    updates: u64,
    lost: u64,
    errors: u64,
    requests: u64,
    connections: u64,
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_update: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_ns_per_update: Option<f64>,
    #[serde(skip)]
    name: &'static str,
    #[serde(skip)]
    histogram: Histogram<u64>,
}

/// Runs all five and shows them.
///
/// # Errors
/// What went wrong, with the exit code for it.
pub(crate) fn run(args: &VsHttp) -> Result<(), Failure> {
    super::plan::enough_files(2 * args.clients as usize)?;
    let mut server = Server::start(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    let mut document = Document::new(args);
    let all = async {
        tokio::select! {
            result = ways(args, &server, &mut document.ways) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure {
                exit: Exit::Interrupted,
                line: "interrupted".into(),
            }),
        }
    };
    let result = runtime.block_on(all).and_then(|()| document.judge());
    server.end();
    if let Err(failure) = &result {
        (document.outcome, document.exit) = (failure.line.clone(), failure.exit as u8);
    }
    if !document.ways.is_empty() {
        document.show(args)?;
    }
    result
}

async fn ways(args: &VsHttp, server: &Server, rows: &mut Vec<Row>) -> Result<(), Failure> {
    for way in Way::ALL {
        if !args.quiet && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            // A closed stderr is no reason to stop.
            let _ = writeln!(std::io::stderr(), "measuring {} …", way.name());
        }
        rows.push(measure(way, args, server).await?);
    }
    Ok(())
}

/// One way: clients begin, all have an update, warm-up, window.
async fn measure(way: Way, args: &VsHttp, server: &Server) -> Result<Row, Failure> {
    let clients = args.clients as usize;
    let shared = Arc::new(Shared {
        websocket: server.websocket,
        http: server.http,
        interval: Duration::from_secs_f64(args.interval / 1e3),
        octets: Arc::new(Octets::default()),
        book: Mutex::new(Book::new(server.updates, clients)),
    });
    let mut tasks = JoinSet::new();
    for id in 0..clients {
        tasks.spawn(client::run(way, id, Arc::clone(&shared)));
    }
    let patience = Duration::from_secs_f64(args.timeout);
    let began = async {
        while !book(&shared).all_began() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = began => {}
        failure = broken(&mut tasks) => return Err(not_connected(format!("{}: {failure}", way.name()))),
        () = tokio::time::sleep(patience) => {
            return Err(timeout(format!("{}: not every client had an update in time", way.name())));
        }
    }
    wait(way, &mut tasks, args.warmup).await?;
    book(&shared).begin();
    let octets = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let before = [
        &shared.octets.sent,
        &shared.octets.received,
        &shared.octets.connections,
    ]
    .map(octets);
    let (cpu, begin) = (Cpu::of(&[server.child.id()]), Instant::now());
    wait(way, &mut tasks, args.duration).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let used = Cpu::of(&[server.child.id()])
        .zip(cpu)
        .map(|(now, before)| now.since(before));
    let after = [
        &shared.octets.sent,
        &shared.octets.received,
        &shared.octets.connections,
    ]
    .map(octets);
    let [sent, received, connections] = [0, 1, 2].map(|at| after[at] - before[at]);
    let mut book = book(&shared);
    let histogram = book.latencies.histogram().clone();
    let each = |sum: u64| (book.received > 0).then(|| sum as f64 / book.received as f64);
    Ok(Row {
        way: way.key(),
        name: way.name(),
        seconds,
        updates: book.received,
        lost: book.lost,
        errors: book.errors,
        requests: book.requests,
        connections,
        bytes_sent: sent,
        bytes_received: received,
        bytes_per_update: each(sent + received),
        latency_us: Latency::of(&histogram),
        server_cpu_ns: used,
        server_cpu_ns_per_update: used.and_then(each),
        histogram,
    })
}

fn book(shared: &Shared) -> std::sync::MutexGuard<'_, Book> {
    shared.book.lock().unwrap_or_else(PoisonError::into_inner)
}

type Tasks = JoinSet<Result<(), Box<dyn std::error::Error + Send + Sync>>>;

/// Lets the clients run for so long; none may end.
async fn wait(way: Way, tasks: &mut Tasks, seconds: f64) -> Result<(), Failure> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => Ok(()),
        failure = broken(tasks) => Err(protocol(format!("{}: {failure}", way.name()))),
    }
}

/// Why the first client that ended did so.
async fn broken(tasks: &mut Tasks) -> String {
    match tasks.join_next().await {
        Some(Ok(Err(error))) => error.to_string(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(Ok(()))) | None => "a client has ended".into(),
    }
}

/// The child process.
struct Server {
    child: Child,
    websocket: std::net::SocketAddr,
    http: std::net::SocketAddr,
    updates: Updates,
}

impl Server {
    fn start(args: &VsHttp) -> Result<Server, Failure> {
        let failed = |error: std::io::Error| {
            Failure::failed(format!("the server cannot be started: {error}"))
        };
        let every = (1e9 / args.rate) as u64;
        let size = args.size as usize;
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args([
                "bench",
                "vs-http-server",
                &every.to_string(),
                &size.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // It ends, or it says where it listens.
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(failed)?;
        }
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or_default();
        match (word().parse(), word().parse(), word().parse()) {
            (Ok(websocket), Ok(http), Ok(began)) => Ok(Server {
                child,
                websocket,
                http,
                updates: Updates { began, every, size },
            }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(Failure::failed("the server did not say where it listens"))
            }
        }
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Document {
    fn new(args: &VsHttp) -> Document {
        Document {
            schema: 1,
            tidegate: env!("CARGO_PKG_VERSION"),
            mode: "vs-http",
            outcome: "done".into(),
            exit: 0,
            clients: args.clients as usize,
            rate: args.rate,
            size: args.size as usize,
            interval_ms: args.interval,
            warmup_seconds: args.warmup,
            ways: Vec::new(),
        }
    }

    fn judge(&self) -> Result<(), Failure> {
        let lost: u64 = self.ways.iter().map(|row| row.lost).sum();
        let errors: u64 = self.ways.iter().map(|row| row.errors).sum();
        match (errors, lost) {
            (0, 0) => Ok(()),
            (0, lost) => Err(Failure::failed(format!("{lost} updates never came"))),
            (errors, _) => Err(protocol(format!("{errors} updates came twice or changed"))),
        }
    }

    fn show(&self, args: &VsHttp) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(self).expect("a document is JSON");
        if let Some(file) = &args.html {
            let page = self.page(&json);
            std::fs::write(file, page).map_err(|error| {
                Failure::failed(format!(
                    "--html: {} cannot be written: {error}",
                    file.display()
                ))
            })?;
        }
        super::print(&match args.json {
            true => json + "\n",
            false => self.table(),
        })
    }

    fn table(&self) -> String {
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        rows.extend(self.ways.iter().map(Row::cells));
        let width = |at: usize| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut text = self.title() + "\n\n";
        for row in &rows {
            for (at, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[at] - cell.chars().count());
                // Writing to a string cannot fail.
                let _ = match at {
                    0 => write!(text, "{cell}{pad}"),
                    _ => write!(text, "  {pad}{cell}"),
                };
            }
            text.push('\n');
        }
        text + "\n" + NOTE + "\n"
    }

    fn title(&self) -> String {
        format!(
            "{} clients, {} updates a second of {} bytes, polling every {} ms",
            self.clients, self.rate, self.size, self.interval_ms
        )
    }

    fn page(&self, json: &str) -> String {
        let series: Vec<Series<'_>> = self
            .ways
            .iter()
            .map(|row| Series {
                name: row.name,
                latencies: &row.histogram,
            })
            .collect();
        let table = Table {
            head: &HEAD,
            rows: self.ways.iter().map(Row::cells).collect(),
        };
        html::page(&self.title(), &table, &series, json)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let latency =
            |of: fn(&Latency) -> f64| self.latency_us.as_ref().map_or("-".into(), |l| span(of(l)));
        vec![
            self.name.to_owned(),
            grouped(self.updates as f64),
            self.bytes_per_update.map_or("-".into(), grouped),
            latency(|l| l.p50),
            latency(|l| l.p99),
            self.server_cpu_ns_per_update
                .map_or("-".into(), |ns| span(ns / 1e3)),
            grouped(self.requests as f64),
            grouped(self.connections as f64),
        ]
    }
}

const HEAD: [&str; 8] = [
    "",
    "updates",
    "bytes each",
    "p50",
    "p99",
    "server CPU each",
    "requests",
    "connections",
];

const NOTE: &str = "\
bytes: what TCP carries, both ways, by update; a browser adds some 500 bytes of header fields to each request.
p50, p99: from when an update was due to when the client had it. requests, connections: in the window.";
