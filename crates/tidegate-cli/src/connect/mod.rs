//! `tidegate connect`: a client for people and scripts. It puts input, connection and output together; what each of
//! them does stands in its own file.
//!
//! ```text
//!   -m, -f, a pipe, the prompt ─► input ─┐            ┌─► output ─► stdout, or above the prompt
//!                                        ├─► session ─┤
//!            plan ─► Client ─► WebSocket ┘            └─► inspect ─► stderr
//! ```

mod args;
mod command;
mod console;
pub(crate) mod hex;
mod input;
mod inspect;
mod output;
mod plan;
pub(crate) mod redact;
mod retry;
mod session;
mod signals;
mod watched;

pub(crate) use args::{Color, ConnectArgs, EXAMPLES};

use crate::error::{Exit, Failure};
use console::{Console, Terminal, Tone};
use inspect::From;
use output::{Output, in_words};
use plan::{Plan, Streams};
use retry::Retry;
use serde_json::json;
use session::{Ended, Session};
use std::future::Future;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tidegate::client::{ClientStream, Established, HttpVersion};
use tidegate::{CloseCode, Closed, ConnectError, WebSocket};
use tidegate_proto::ProtocolError;
use tokio::sync::mpsc;
use watched::{Eye, Watched};

/// Connects and talks until one side has had enough.
///
/// # Errors
/// What went wrong, with the exit code for it.
pub(crate) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    let plan = Plan::check(args, Streams::of_this_process())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    let console = Console::stderr(plan.colour);
    let mut terminal = None;
    let talk = talk(&plan, &console, &mut terminal);
    let result = runtime.block_on(within(plan.timeout, talk));
    if let Some(terminal) = terminal {
        terminal.leave(&console);
    }
    // Somebody may not read stdout, or not type: nobody waits for them.
    runtime.shutdown_background();
    result
}

/// Bounds all of it by `--timeout`.
async fn within(
    most: Option<Duration>,
    talk: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let Some(most) = most else {
        return talk.await;
    };
    let result = tokio::time::timeout(most, talk).await;
    result.unwrap_or_else(|_| {
        Err(Failure {
            exit: Exit::Timeout,
            line: format!("not done after {} s (--timeout)", most.as_secs_f64()),
        })
    })
}

type Ws = WebSocket<Watched<ClientStream>>;

async fn talk(
    plan: &Plan,
    console: &Console,
    terminal: &mut Option<Terminal>,
) -> Result<(), Failure> {
    let mut interrupts = signals::interrupts();
    let mut retry = Retry::default();
    let (ws, how) = first(plan, console, &mut retry, &mut interrupts).await?;
    let mut session = begin(plan, console, terminal, interrupts)?;
    let ended = keep_on(plan, &mut session, ws, how, retry).await;
    match ended {
        // Whoever has closed our stdout knows why.
        Err(Stop::Unread(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Unread(error)) => Err(Failure::failed(format!(
            "stdout cannot be written: {error}"
        ))),
        Err(Stop::Failed(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
}

/// Why there is nothing more to do.
enum Stop {
    /// Nobody reads what we write.
    Unread(io::Error),
    Failed(Failure),
}

impl std::convert::From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Unread(error)
    }
}

impl std::convert::From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// The first connection; while there is none, nothing is read from the input.
async fn first(
    plan: &Plan,
    console: &Console,
    retry: &mut Retry,
    interrupts: &mut mpsc::Receiver<()>,
) -> Result<(Ws, Established), Failure> {
    loop {
        let connected = tokio::select! {
            connected = connect(plan, console) => connected,
            Some(()) = interrupts.recv() => return Err(interrupted()),
        };
        let error = match connected {
            Ok(opened) => return Ok(opened),
            Err(error) if plan.reconnect && error.is_retryable() => error,
            Err(error) => return Err(cannot_connect(&error)),
        };
        let wait = retry.after(&error);
        let seconds = wait.as_secs_f64();
        let line = format!("{}; trying again in {seconds:.1} s", could_not(&error));
        console.tell(Tone::Warning, &line);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Some(()) = interrupts.recv() => return Err(interrupted()),
        }
    }
}

/// Input and output, now that there is somebody to talk to.
fn begin(
    plan: &Plan,
    console: &Console,
    terminal: &mut Option<Terminal>,
    interrupts: mpsc::Receiver<()>,
) -> Result<Session, Failure> {
    let input = if plan.prompt {
        let (entered, editor) = Terminal::enter(console)
            .map_err(|error| Failure::failed(format!("the terminal cannot be used: {error}")))?;
        *terminal = Some(entered);
        input::prompt(editor, console.clone(), plan.binary)
    } else {
        input::start(plan.source.clone())
    };
    let input =
        input.map_err(|error| Failure::failed(format!("the input cannot be read: {error}")))?;
    let output = Output::new(plan.form, console.clone(), plan.verbose);
    Ok(Session::new(input, output, plan.rules.clone(), interrupts))
}

/// Talks on this connection, and on the next ones if that is wanted.
async fn keep_on(
    plan: &Plan,
    session: &mut Session,
    ws: Ws,
    how: Established,
    mut retry: Retry,
) -> Result<(), Stop> {
    let mut next = Some((ws, how));
    loop {
        let (ws, how) = match next.take() {
            Some(opened) => opened,
            None => connect_again(plan, session, &mut retry).await?,
        };
        announce(plan, session, &ws, &how).await?;
        let since = Instant::now();
        let lost = match session.run(ws).await {
            Ended::Lost(closed) => closed,
            ended => return finish(session, ended).await,
        };
        session.output.closed(&lost).await?;
        if !plan.reconnect || !is_worth_another(&lost) {
            return Ok(judge(session, &lost)?);
        }
        let wait = retry.after_being_open(since.elapsed());
        rest(session, &in_words(&lost), wait).await?;
    }
}

/// Tries until there is a connection again.
async fn connect_again(
    plan: &Plan,
    session: &mut Session,
    retry: &mut Retry,
) -> Result<(Ws, Established), Stop> {
    loop {
        let console = session.output.console().clone();
        let connected = tokio::select! {
            connected = connect(plan, &console) => connected,
            () = session.interrupted() => return Err(interrupted().into()),
        };
        match connected {
            Ok(opened) => return Ok(opened),
            Err(error) if error.is_retryable() => {
                let wait = retry.after(&error);
                rest(session, &could_not(&error), wait).await?;
            }
            Err(error) => return Err(cannot_connect(&error).into()),
        }
    }
}

/// Says why, and waits.
async fn rest(session: &mut Session, why: &str, wait: Duration) -> Result<(), Stop> {
    session.output.retry(why, wait).await?;
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = session.interrupted() => Err(interrupted().into()),
    }
}

/// One attempt, drawn if that is wanted.
async fn connect(plan: &Plan, console: &Console) -> Result<(Ws, Established), ConnectError> {
    if !plan.inspect {
        let opened = plan
            .client
            .open_with(&plan.url, |io, _| Watched::new(io, None));
        return opened.await;
    }
    let start = Instant::now();
    let console = console.clone();
    let mut say = move |line: String| {
        let at = start.elapsed().as_secs_f64();
        console.say(&format!("{at:>8.3} {line}"));
    };
    let eye = Eye::new(Box::new(say.clone()));
    let mut first_frames = Vec::new();
    let opened = plan.client.open_with(&plan.url, |io, early| {
        first_frames = early.to_vec();
        Watched::new(io, Some(eye.clone()))
    });
    let opened = opened.await;
    match &opened {
        Ok((_, how)) => {
            inspect::handshake(how, &mut say);
            let mut eye = eye.lock().unwrap_or_else(PoisonError::into_inner);
            eye.look(From::Server, &first_frames);
        }
        Err(error) => {
            if let Some(refused) = error.refused() {
                inspect::head("→", &refused.request, &mut say);
                inspect::head("←", refused.headers.head(), &mut say);
            }
        }
    }
    opened
}

/// Says what came about.
async fn announce(
    plan: &Plan,
    session: &mut Session,
    ws: &Ws,
    how: &Established,
) -> io::Result<()> {
    let mut words = vec![match how.version {
        HttpVersion::Http2 => "HTTP/2".to_owned(),
        _ => "HTTP/1.1".to_owned(),
    }];
    words.extend(how.proxy.as_ref().map(|proxy| format!("through {proxy}")));
    words.extend(how.tls.clone());
    words.extend(match ws.subprotocol() {
        Some(name) => Some(format!("subprotocol {name}")),
        None => plan.offers.then(|| "no subprotocol".to_owned()),
    });
    words.extend(ws.deflate().map(|_| "permessage-deflate".to_owned()));
    let url = redact::target(&plan.url);
    let help = if plan.prompt {
        "; /help lists commands"
    } else {
        ""
    };
    let line = format!("connected to {url} ({}){help}", words.join(", "));
    let facts = json!({
        "url": url,
        "http": words[0],
        "status": how.status,
        "subprotocol": ws.subprotocol(),
        "deflate": ws.deflate().is_some(),
    });
    session.output.open(&line, facts).await?;
    session.output.flush().await
}

/// What our own end means.
async fn finish(session: &mut Session, ended: Ended) -> Result<(), Stop> {
    match ended {
        Ended::Done(closed) => {
            session.output.closed(&closed).await?;
            Ok(())
        }
        Ended::Lost(closed) => Ok(judge(session, &closed)?),
        Ended::Interrupted(closed) => {
            session.output.closed(&closed).await?;
            Err(interrupted().into())
        }
        Ended::Unread(error) => Err(error.into()),
        Ended::BadInput(why, closed) => {
            session.output.closed(&closed).await?;
            Err(Failure::failed(why).into())
        }
    }
}

/// What an end that we did not ask for means.
fn judge(session: &Session, closed: &Closed) -> Result<(), Failure> {
    let words = in_words(closed);
    if closed.cause.is_some_and(is_violation) {
        return Err(Failure {
            exit: Exit::Protocol,
            line: format!("the server broke the protocol: {words}"),
        });
    }
    let fine = closed.clean
        && matches!(
            closed.code,
            None | Some(CloseCode::NORMAL | CloseCode::GOING_AWAY)
        );
    if !fine {
        return Err(Failure::failed(format!("closed: {words}")));
    }
    if session.is_short() {
        let came = session.received();
        return Err(Failure::failed(format!(
            "closed after {came} messages: {words}"
        )));
    }
    Ok(())
}

/// The server's mistake; the others are silence, or limits of ours.
fn is_violation(error: ProtocolError) -> bool {
    !matches!(
        error,
        ProtocolError::Unresponsive
            | ProtocolError::CloseTimeout
            | ProtocolError::SlowConsumer
            | ProtocolError::MessageTooBig
            | ProtocolError::TooManyFragments
            | ProtocolError::InflatesTooMuch
            | ProtocolError::ControlFlood
    )
}

/// Whether to connect anew: not when the server has said that it is done, or does not want us.
fn is_worth_another(closed: &Closed) -> bool {
    !matches!(closed.code, Some(CloseCode::NORMAL | CloseCode::POLICY)) || !closed.clean
}

fn could_not(error: &ConnectError) -> String {
    hex::harmless(&format!("could not connect: {error}"))
}

fn cannot_connect(error: &ConnectError) -> Failure {
    let exit = match error {
        ConnectError::Url(_) | ConnectError::Request(_) | ConnectError::Proxy(_) => Exit::Usage,
        ConnectError::TlsSettings(_) | ConnectError::TlsDisabled => Exit::Failed,
        ConnectError::Handshake(_) | ConnectError::Deflate(_) | ConnectError::ProxyAnswer(_) => {
            Exit::Protocol
        }
        _ => Exit::NotConnected,
    };
    let mut line = could_not(error);
    if is_distrust(error) {
        line.push_str(" (--cacert FILE names a root to trust)");
    }
    if let Some(refused) = error.refused() {
        let body = String::from_utf8_lossy(&refused.body);
        let first = body.lines().map(str::trim).find(|line| !line.is_empty());
        if let Some(first) = first.filter(|line| !line.starts_with('<')) {
            let first: String = first.chars().take(200).collect();
            line.push_str(&format!(": {}", hex::harmless(&first)));
        }
    }
    Failure { exit, line }
}

/// The certificate may be good, but nobody here knows who issued it.
fn is_distrust(error: &ConnectError) -> bool {
    use tidegate::rustls::{CertificateError, Error};
    let ConnectError::Tls { source } = error else {
        return false;
    };
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    )
}

/// Whoever typed Ctrl-C knows that they did.
fn interrupted() -> Failure {
    Failure {
        exit: Exit::Interrupted,
        line: String::new(),
    }
}
