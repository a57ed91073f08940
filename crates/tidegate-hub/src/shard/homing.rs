//! What a shard does for the channels whose home it is: it answers, and it tells the members.

use super::{Out, Shard};
use crate::codec::Shared;
use crate::home::{Entered, Entry, How};
use crate::mail::{Answer, Ask, Asker, Delivered, Departure, Question, WorkerMail};
use crate::publication::{Draft, Position, Tags};
use crate::reply::Push;
use crate::topic::TopicName;
use tidegate_proto::WorkerId;

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
                wish,
                recover,
                reject_unrecovered,
            } => {
                let entry = Entry {
                    worker: asker.peer.worker(),
                    info: &info,
                    wish,
                    recover: recover.as_ref().map(|(offset, epoch)| (*offset, &**epoch)),
                    reject_unrecovered,
                };
                let Entered { result, news } = self.home.enter(&topic, &entry, now, random);
                let answer = Answer::Subscribed {
                    topic: topic.clone(),
                    attempt,
                    result,
                };
                self.answer(asker, answer, out);
                return self.announce(&topic, news, out);
            }
            Question::Publish { info, data } => {
                let draft = Draft {
                    data: &data,
                    info: Some(&info),
                    tags: &Tags::new(),
                };
                let how = How {
                    keep: true,
                    key: None,
                };
                match self.home.publish(&topic, draft, how, now, random) {
                    Ok((publication, _)) => {
                        self.fan_out(&topic, publication.map(Delivered::Publication), out);
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

    /// Members that `from` had are gone; those that stay are told where the channel's options want it.
    pub(super) fn left(&mut self, from: WorkerId, members: &[Departure], out: Out<'_, '_>) {
        for departure in members {
            let news = self.home.leave(departure, from, out.now());
            self.announce(&departure.topic, news, out);
        }
    }

    /// Tells the members who came and went; but not while the server shuts down, when everybody goes.
    pub(super) fn announce(&mut self, topic: &TopicName, news: Vec<Push>, out: Out<'_, '_>) {
        if !news.is_empty() && !self.draining {
            let news = Delivered::Presence(Shared::new(topic, news));
            self.fan_out(topic, Some(news), out);
        }
    }

    /// Tells the members' workers where a channel stands. One that cannot be told now is told later; one
    /// that is known to have lost something recovers anyway.
    pub(super) fn tell_position(
        &mut self,
        topic: &TopicName,
        position: Position,
        out: Out<'_, '_>,
    ) {
        let mut later = false;
        for members in self.home.members(topic) {
            if members.worker != self.worker && members.live {
                let topic = topic.clone();
                let mail = WorkerMail::Stands { topic, position };
                later |= self.spool.offer(members.worker, mail, out).is_err();
            }
        }
        if later {
            self.home.check_later(topic, out.now());
        }
        self.stands(topic, position, out);
    }

    fn answer(&mut self, to: Asker, answer: Answer, out: Out<'_, '_>) {
        if to.peer.worker() == self.worker {
            self.apply(to, answer, out);
        } else {
            self.send(to.peer.worker(), WorkerMail::Answer { to, answer }, out);
        }
    }

    /// Gives something to all members: directly here, by one mail to each other worker that has any.
    pub(super) fn fan_out(&mut self, topic: &TopicName, what: Option<Delivered>, out: Out<'_, '_>) {
        let Some(what) = what else { return };
        self.stats.publications += u64::from(matches!(what, Delivered::Publication(_)));
        let mut n = 0;
        while let Some(members) = self.home.members(topic).get(n).copied() {
            n += 1;
            if members.worker == self.worker {
                match &what {
                    Delivered::Publication(publication) => self.deliver(topic, publication, out),
                    Delivered::Presence(news) => self.deliver_news(topic, news, out),
                }
            } else if members.live {
                let mail = WorkerMail::Deliver {
                    topic: topic.clone(),
                    what: what.clone(),
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
