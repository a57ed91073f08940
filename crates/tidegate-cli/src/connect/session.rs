//! One connection at a time: sends what the input says, shows what comes, and knows when it is enough. It never
//! connects.

use super::input::{Input, Item};
use super::output::Output;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tidegate::{CloseCode, Closed, Message, PingError, Receiver, Sender, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// When to end, and how.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// After so many messages.
    pub(crate) count: Option<u64>,
    /// After the input's end, once nothing has come for so long.
    pub(crate) quiet: Option<Duration>,
    /// With this code and reason.
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

/// How a connection ended for us.
#[derive(Debug)]
pub(crate) enum Ended {
    /// We had enough.
    Done(Closed),
    /// Nobody asked for that: the server closed, or the connection broke.
    Lost(Closed),
    /// The person has typed Ctrl-C, or a signal came.
    Interrupted(Closed),
    /// Nobody reads what we write any more.
    Unread(io::Error),
    /// The input is broken.
    BadInput(String, Closed),
}

/// What outlives a connection.
pub(crate) struct Session {
    input: Input,
    pub(crate) output: Output,
    rules: Rules,
    interrupts: mpsc::Receiver<()>,
    received: u64,
    input_ended: bool,
    /// What was being sent when the last connection broke.
    unsent: Option<Message>,
}

/// What runs beside receiving.
enum Did {
    Sent(Result<(), Closed>),
    Ponged(Result<Duration, PingError>),
}

type Work = Pin<Box<dyn Future<Output = Did>>>;

impl Session {
    pub(crate) fn new(
        input: Input,
        output: Output,
        rules: Rules,
        interrupts: mpsc::Receiver<()>,
    ) -> Session {
        Session {
            input,
            output,
            rules,
            interrupts,
            received: 0,
            input_ended: false,
            unsent: None,
        }
    }

    /// Messages that came, on all connections.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Fewer came than were asked for.
    pub(crate) fn is_short(&self) -> bool {
        self.rules.count.is_some_and(|count| self.received < count)
    }

    /// Waits for a signal.
    pub(crate) async fn interrupted(&mut self) {
        if self.interrupts.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Talks until the end.
    pub(crate) async fn run<S>(&mut self, ws: WebSocket<S>) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, mut receiver) = ws.split();
        match self.talk(&sender, &mut receiver).await {
            Ok(ended) => ended,
            Err(error) => {
                sender.close(CloseCode::GOING_AWAY, "").await;
                Ended::Unread(error)
            }
        }
    }

    async fn talk<S>(&mut self, sender: &Sender<S>, receiver: &mut Receiver<S>) -> io::Result<Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut work: Option<Work> = self.unsent.clone().map(|message| send(sender, message));
        let mut last = Instant::now();
        loop {
            let idle = work.is_none();
            let quiet = self.quiet(idle, last);
            tokio::select! {
                received = receiver.recv() => match received {
                    Ok(message) => {
                        last = Instant::now();
                        if self.take(message, receiver).await? {
                            return Ok(Ended::Done(self.close(sender).await));
                        }
                    }
                    Err(closed) => return Ok(Ended::Lost(closed)),
                },
                did = run(&mut work) => {
                    work = None;
                    last = Instant::now();
                    self.did(did).await?;
                }
                item = self.input.recv(), if idle && !self.input_ended => match item {
                    Some(Item::Send(message)) => {
                        self.unsent = Some(message.clone());
                        work = Some(send(sender, message));
                    }
                    Some(Item::Ping) => work = Some(ping(sender)),
                    Some(Item::Close(code, reason)) => {
                        (self.rules.code, self.rules.reason) = (code, reason);
                        return Ok(Ended::Done(self.close(sender).await));
                    }
                    Some(Item::Interrupt) => {
                        return Ok(Ended::Interrupted(self.close(sender).await));
                    }
                    Some(Item::Broken(why)) => {
                        return Ok(Ended::BadInput(why, self.close(sender).await));
                    }
                    None => {
                        self.input_ended = true;
                        last = Instant::now();
                    }
                },
                () = sleep_until(quiet.unwrap_or(last)), if quiet.is_some() => {
                    return Ok(Ended::Done(self.close(sender).await));
                }
                Some(()) = self.interrupts.recv() => {
                    return Ok(Ended::Interrupted(self.close(sender).await));
                }
            }
        }
    }

    /// When it has been quiet for long enough. Who waits for a number of messages waits for those.
    fn quiet(&self, idle: bool, last: Instant) -> Option<Instant> {
        let waits = idle && self.input_ended && self.rules.count.is_none();
        self.rules.quiet.filter(|_| waits).map(|quiet| last + quiet)
    }

    /// Shows a message and those that are at hand behind it; true when that was enough.
    async fn take<S>(&mut self, first: Message, receiver: &mut Receiver<S>) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(message) = next else { break };
            self.output.message(&message).await?;
            self.received += 1;
            if self.rules.count.is_some_and(|count| self.received >= count) {
                self.output.flush().await?;
                return Ok(true);
            }
            // An end that shows here shows again at the next call.
            next = at_hand(receiver.recv()).await.and_then(Result::ok);
        }
        if let Some(message) = next {
            self.output.message(&message).await?;
            self.received += 1;
        }
        self.output.flush().await?;
        Ok(self.rules.count.is_some_and(|count| self.received >= count))
    }

    async fn did(&mut self, did: Did) -> io::Result<()> {
        match did {
            Did::Sent(Ok(())) => self.unsent = None,
            // The receiver tells how it ended.
            Did::Sent(Err(_)) | Did::Ponged(Err(PingError::Closed(_))) => {}
            Did::Ponged(Ok(rtt)) => self.output.pong(rtt).await?,
            Did::Ponged(Err(error)) => self.output.notice(&error.to_string()),
        }
        Ok(())
    }

    async fn close<S>(&mut self, sender: &Sender<S>) -> Closed
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let close = sender.close(self.rules.code, &self.rules.reason);
        tokio::select! {
            closed = close => closed,
            // A second Ctrl-C: the server gets no more time.
            Some(()) = self.interrupts.recv() => {
                sender.abort();
                sender.close(self.rules.code, "").await
            }
        }
    }
}

fn send<S>(sender: &Sender<S>, message: Message) -> Work
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let sender = sender.clone();
    Box::pin(async move { Did::Sent(sender.send(message).await) })
}

fn ping<S>(sender: &Sender<S>) -> Work
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let sender = sender.clone();
    Box::pin(async move { Did::Ponged(sender.ping().await) })
}

/// What is being done, done; never, when nothing is.
async fn run(work: &mut Option<Work>) -> Did {
    match work {
        Some(work) => work.as_mut().await,
        None => std::future::pending().await,
    }
}

/// What a future gives at once, if it does.
async fn at_hand<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Messages shown before stdout is flushed, at most.
const BATCH: usize = 64;
