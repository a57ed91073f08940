//! What the guard has done, for those who ask later: the audit file, written by a thread of its own, and counts of
//! verdicts. Workers never wait for it: what does not fit is counted, and the count stands in the file.

use crate::control::admin::metrics::Out;
use crate::error::Failure;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_guard::Witness;
use tidegate_guard::audit::{Chain, Event, What};
use tidegate_proto::Time;
use tracing::{error, info};

/// Route, rule and verdict: names that the policy and we ourselves have given, so they are few.
pub(crate) type Name = (String, String, &'static str);

/// Takes events from all workers.
pub(crate) struct Evidence {
    mail: Mutex<Option<SyncSender<Event>>>,
    verdicts: Mutex<BTreeMap<Name, u64>>,
    /// The last of them, the oldest first.
    recent: Mutex<VecDeque<(Time, Name)>>,
    counts: Arc<Counts>,
}

/// What became of events.
#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    /// Lost since the file was last told.
    untold: AtomicU64,
}

/// The audit file being written.
pub(super) struct Writing(Option<JoinHandle<()>>);

impl Evidence {
    /// Opens the file, if there is one, and starts its thread. `unwritten` is set while it cannot be written.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(super) fn start(
        file: Option<&Path>,
        unwritten: Arc<AtomicBool>,
    ) -> Result<(Arc<Evidence>, Writing), Failure> {
        let counts = Arc::new(Counts::default());
        let (mail, thread) = match file {
            None => (None, None),
            Some(path) => {
                let book = Book::open(path).map_err(|why| {
                    Failure::failed(format!("audit file {}: {why}", path.display()))
                })?;
                let (mail, events) = sync_channel(WAITING);
                let counts = Arc::clone(&counts);
                let thread = std::thread::Builder::new()
                    .name("audit".into())
                    .spawn(move || book.keep(&events, &counts, &unwritten))
                    .map_err(|error| {
                        Failure::failed(format!("no thread for the audit file: {error}"))
                    })?;
                (Some(mail), Some(thread))
            }
        };
        let evidence = Evidence {
            mail: Mutex::new(mail),
            verdicts: Mutex::default(),
            recent: Mutex::default(),
            counts,
        };
        Ok((Arc::new(evidence), Writing(thread)))
    }

    /// What a worker tells.
    pub(super) fn witness(self: &Arc<Evidence>) -> Witness {
        let mail = self
            .mail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let evidence = Arc::clone(self);
        Arc::new(move |event| evidence.take(mail.as_ref(), event))
    }

    fn take(&self, mail: Option<&SyncSender<Event>>, event: Event) {
        if let Some(name) = name(&event.what) {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back((event.at, name.clone()));
            drop(recent);
            let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            *verdicts.entry(name).or_default() += 1;
        }
        if mail.is_some_and(|mail| mail.try_send(event).is_err()) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            self.counts.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Verdicts so far, by route, rule and verdict.
    pub(super) fn verdicts(&self) -> BTreeMap<Name, u64> {
        self.verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The last verdicts, the oldest first.
    pub(super) fn recent(&self) -> Vec<(Time, Name)> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().cloned().collect()
    }

    /// The same for metrics: labels are names of the policy and of rules, never a peer's words.
    pub(crate) fn write(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let alone = |n: &AtomicU64| vec![(Vec::new(), n.load(Ordering::Relaxed))];
        let verdicts = self.verdicts().into_iter();
        let verdicts = verdicts.map(|((route, rule, verdict), n)| {
            let labels = vec![
                ("route", route),
                ("rule", rule),
                ("verdict", verdict.to_owned()),
            ];
            (labels, n)
        });
        out.counters(
            "guard_verdicts",
            "Handshakes, messages and connections that a rule spoke of",
            verdicts.collect(),
        )?;
        out.counters(
            "guard_audit_events",
            "Events written to the audit file",
            alone(&self.counts.written),
        )?;
        out.counters(
            "guard_audit_lost",
            "Events that could not be written",
            alone(&self.counts.lost),
        )
    }

    /// The last event: what comes after it is not written.
    pub(super) fn stop(&self) {
        let mail = self
            .mail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let end = Event {
            at: now(),
            connection: 0,
            what: What::End,
        };
        // That the thread has gone is told by its panic.
        mail.into_iter()
            .for_each(|mail| drop(mail.send(end.clone())));
    }
}

impl Writing {
    /// Waits until all is written. The workers must be gone.
    pub(super) fn join(self) {
        if let Some(thread) = self.0 {
            let _ = thread.join(); // its panic stands in the log
        }
    }
}

fn name(what: &What) -> Option<Name> {
    let none = || "none".to_owned();
    match what {
        What::Refused { route, rule, .. } => {
            let route = route.as_ref().map_or_else(none, |route| route.to_string());
            Some((route, rule.to_string(), "refused"))
        }
        What::Verdict {
            route, rule, mode, ..
        } => Some((route.to_string(), rule.to_string(), mode.name())),
        What::Close {
            route,
            rule: Some(rule),
            ..
        } => Some((route.to_string(), rule.to_string(), "closed")),
        _ => None,
    }
}

/// The file and its chain.
struct Book {
    file: File,
    chain: Chain,
    /// What is still to be written: whole lines, but for the first when the file took a part of it.
    pending: Vec<u8>,
}

impl Book {
    fn open(path: &Path) -> Result<Book, String> {
        let known = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.to_string()),
        };
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| error.to_string())?;
        let mut pending = Vec::new();
        let chain = match known.is_empty() {
            true => {
                let mut salt = [0; 16];
                getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
                let (chain, line) = Chain::begin(salt, now(), env!("CARGO_PKG_VERSION"));
                pending.extend_from_slice(line.as_bytes());
                pending.push(b'\n');
                chain
            }
            false => Chain::resume(known.lines()).map_err(|broken| {
                format!("{broken}; keep it as it is, and name another file in [audit]")
            })?,
        };
        let mut book = Book {
            file,
            chain,
            pending,
        };
        book.flush().map_err(|error| error.to_string())?;
        info!(file = %path.display(), lines = book.chain.lines(), "audit file");
        Ok(book)
    }

    /// Writes events until nobody sends any more, many at once.
    fn keep(mut self, events: &Receiver<Event>, counts: &Counts, unwritten: &AtomicBool) {
        loop {
            match events.recv_timeout(RETRY) {
                Ok(event) => {
                    let last = event.what == What::End;
                    self.enter(&event, counts);
                    // Those that have come together are written together.
                    let more: Vec<Event> = events.try_iter().take(WAITING).collect();
                    more.iter().for_each(|event| self.enter(event, counts));
                    if last || more.iter().any(|event| event.what == What::End) {
                        return self.settle(unwritten);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.settle(unwritten);
        }
    }

    /// Puts an event into the chain, unless too much waits already.
    fn enter(&mut self, event: &Event, counts: &Counts) {
        if self.pending.len() > MOST_PENDING {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            counts.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let untold = counts.untold.swap(0, Ordering::Relaxed);
        if untold > 0 {
            self.append(&lost(untold));
        }
        self.append(event);
        counts.written.fetch_add(1, Ordering::Relaxed);
    }

    fn append(&mut self, event: &Event) {
        let line = self.chain.append(event);
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
    }

    fn settle(&mut self, unwritten: &AtomicBool) {
        let result = self.flush();
        let before = unwritten.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !before => error!(%error, "events cannot be written to the audit file"),
            Ok(()) if before => info!("events are written to the audit file again"),
            _ => {}
        }
    }

    /// What the file has taken is not written again, so the chain has no hole.
    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.pending.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn lost(count: u64) -> Event {
    Event {
        at: now(),
        connection: 0,
        what: What::Lost { count },
    }
}

/// The wall clock, as the workers count it.
pub(super) fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Verdicts that the page shows one by one.
const RECENT: usize = 50;
/// Events that wait for the file.
const WAITING: usize = 8_192;
/// Octets of lines that wait for a file that cannot be written; beyond it events are lost, and counted.
const MOST_PENDING: usize = 1 << 20;
/// A file that cannot be written is tried again so often.
const RETRY: Duration = Duration::from_secs(1);
