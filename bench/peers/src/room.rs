//! What the servers do with messages, by the path that was asked for; and the room of `/broadcast`: one unbounded queue
//! a member, its payloads shared, so that nobody waits for a slow one.

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is done with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Echo,
    Broadcast,
    Sink,
}

impl Mode {
    pub(crate) fn of(path: &str) -> Mode {
        match path.split('?').next() {
            Some("/broadcast") => Mode::Broadcast,
            Some("/sink") => Mode::Sink,
            _ => Mode::Echo,
        }
    }
}

/// All clients of `/broadcast`.
pub(crate) struct Room<M>(Mutex<Vec<UnboundedSender<M>>>);

impl<M: Clone> Room<M> {
    pub(crate) const fn new() -> Room<M> {
        Room(Mutex::new(Vec::new()))
    }

    pub(crate) fn join(&self) -> UnboundedReceiver<M> {
        let (sender, receiver) = unbounded_channel();
        self.members().push(sender);
        receiver
    }

    /// Who has left is forgotten.
    pub(crate) fn send(&self, message: &M) {
        self.members()
            .retain(|member| member.send(message.clone()).is_ok());
    }

    fn members(&self) -> std::sync::MutexGuard<'_, Vec<UnboundedSender<M>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of a library whose WebSocket is a stream and a sink. `message` gives back what is data.
pub(crate) async fn converse<W, I, M: Clone>(
    ws: W,
    mode: Mode,
    room: &Room<M>,
    message: impl Fn(I) -> Option<M>,
) where
    W: Stream<Item = I> + Sink<M> + Unpin,
{
    match mode {
        Mode::Echo => echo(ws, message).await,
        Mode::Broadcast => broadcast(ws, room, message).await,
        Mode::Sink => ws.for_each(|_| std::future::ready(())).await,
    }
}

/// Answers all messages that are ready, up to a batch, before one flush.
async fn echo<W, I, M>(mut ws: W, message: impl Fn(I) -> Option<M>)
where
    W: Stream<Item = I> + Sink<M> + Unpin,
{
    while let Some(item) = ws.next().await {
        let mut next = Some(item);
        for _ in 0..BATCH {
            let Some(item) = next.take() else { break };
            let Some(answer) = message(item) else { break };
            if ws.feed(answer).await.is_err() {
                return;
            }
            next = poll_fn(|cx| match ws.poll_next_unpin(cx) {
                Poll::Ready(item) => Poll::Ready(item),
                Poll::Pending => Poll::Ready(None),
            })
            .await;
        }
        if let Some(answer) = next.and_then(&message) {
            if ws.feed(answer).await.is_err() {
                return;
            }
        }
        if ws.flush().await.is_err() {
            return;
        }
    }
}

/// Writes what has queued up for it, up to a batch, before one flush; what it hears it gives to the room.
async fn broadcast<W, I, M: Clone>(mut ws: W, room: &Room<M>, message: impl Fn(I) -> Option<M>)
where
    W: Stream<Item = I> + Sink<M> + Unpin,
{
    let (mut inbox, mut batch) = (room.join(), Vec::with_capacity(BATCH));
    loop {
        tokio::select! {
            biased;
            _ = inbox.recv_many(&mut batch, BATCH) => {
                for message in batch.drain(..) {
                    if ws.feed(message).await.is_err() {
                        return;
                    }
                }
                if ws.flush().await.is_err() {
                    return;
                }
            }
            item = ws.next() => {
                let Some(item) = item else { return };
                if let Some(message) = message(item) {
                    room.send(&message);
                }
            }
        }
    }
}

/// Messages handled before one flush.
pub(crate) const BATCH: usize = 64;
