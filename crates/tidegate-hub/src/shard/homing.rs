//! What a shard does for the channels whose home it is: it answers, and it tells the members.

use super::{Out, Shard};
use crate::codec::json;
use crate::home::{Entered, Entry};
use crate::mail::{Answer, Ask, Asker, Control, Question, WorkerMail};
use crate::publication::ClientInfo;
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::{Encoded, WorkerId};

impl Shard {
    /// A client of this worker or another asks about a channel whose home is here.
    pub(super) fn serve(&mut self, ask: Ask, out: Out<'_, '_>) {
        let Ask {
            asker,
            topic,
            question,
        } = ask;
        let (now, random) = (out.now(), out.random());
        let answer = match question {
            Question::Subscribe {
                info,
                attempt,
                recover,
                reject_unrecovered,
            } => {
                let entry = Entry {
                    worker: asker.peer.worker(),
                    info: &info,
                    recover: recover.as_ref().map(|(offset, epoch)| (*offset, &**epoch)),
                    reject_unrecovered,
                };
                let Entered { result, joined } = self.home.enter(&topic, &entry, now, random);
                let answer = Answer::Subscribed {
                    topic: topic.clone(),
                    attempt,
                    result,
                };
                self.answer(asker, answer, out);
                if joined && !self.draining {
                    self.fan_out(
                        &topic,
                        &Encoded::text(&json::join(topic.as_str(), &info)),
                        out,
                    );
                }
                return;
            }
            Question::Publish { info, data } => {
                match self.home.publish(&topic, &data, Some(&info), now, random) {
                    Ok((publication, _)) => {
                        self.fan_out(&topic, publication.frame(), out);
                        Answer::Published
                    }
                    Err(error) => Answer::Error(error),
                }
            }
            Question::Presence => self
                .home
                .presence(&topic)
                .map_or_else(Answer::Error, Answer::Presence),
            Question::PresenceStats => self
                .home
                .presence_stats(&topic)
                .map_or_else(Answer::Error, Answer::PresenceStats),
            Question::History { epoch, page } => self
                .home
                .history(&topic, epoch.as_deref(), page, now, random)
                .map_or_else(Answer::Error, Answer::History),
        };
        self.answer(asker, answer, out);
    }

    /// The control plane asks.
    pub(super) fn control(&mut self, control: Control, out: Out<'_, '_>) {
        let (now, random) = (out.now(), out.random());
        match control {
            Control::Publish { topic, data, reply } => {
                let result = self.home.publish(&topic, &data, None, now, random);
                reply.call(result.map(|(publication, position)| {
                    self.fan_out(&topic, publication.frame(), out);
                    position
                }));
            }
            Control::History {
                topic,
                epoch,
                page,
                reply,
            } => reply.call(
                self.home
                    .history(&topic, epoch.as_deref(), page, now, random),
            ),
            Control::Presence { topic, reply } => reply.call(self.home.presence(&topic)),
            Control::PresenceStats { topic, reply } => {
                reply.call(self.home.presence_stats(&topic));
            }
        }
    }

    /// Members that `from` had are gone; those that stay are told where the channel's options want it,
    /// but not while the server shuts down, when everybody goes.
    pub(super) fn left(
        &mut self,
        from: WorkerId,
        members: &[(TopicName, Arc<ClientInfo>)],
        out: Out<'_, '_>,
    ) {
        for (topic, info) in members {
            let tell = self.home.leave(topic, from, info, out.now());
            if tell && !self.draining {
                self.fan_out(
                    topic,
                    &Encoded::text(&json::leave(topic.as_str(), info)),
                    out,
                );
            }
        }
    }

    fn answer(&mut self, to: Asker, answer: Answer, out: Out<'_, '_>) {
        if to.peer.worker() == self.worker {
            self.apply(to, answer, out);
        } else {
            self.send(to.peer.worker(), WorkerMail::Answer { to, answer }, out);
        }
    }

    /// Gives a frame to all members: directly here, by one mail to each other worker that has any.
    fn fan_out(&mut self, topic: &TopicName, frame: &Encoded, out: Out<'_, '_>) {
        let mut n = 0;
        while let Some(members) = self.home.members(topic).get(n).copied() {
            n += 1;
            if members.worker == self.worker {
                self.deliver(topic, frame, out);
            } else if members.live {
                let mail = WorkerMail::Deliver {
                    topic: topic.clone(),
                    frame: frame.clone(),
                };
                if self.spool.offer(members.worker, mail, out).is_err() {
                    self.home.lags(topic, members.worker);
                    let topic = topic.clone();
                    self.send(members.worker, WorkerMail::Resync { topic }, out);
                }
            }
        }
    }
}
