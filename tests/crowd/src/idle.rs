//! What a client costs that is connected, has one subscription and says nothing: the server's resident memory and its
//! processor time, both read from outside. The kernel's own memory is not in it.

use crate::crowd::Crowd;
use crate::server::{Ground, Server};
use crate::wire::{Budget, Heard};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is asked for.
pub(crate) struct Plan {
    /// The program under test.
    pub(crate) binary: PathBuf,
    /// Clients that are silent, but for their pongs.
    pub(crate) clients: usize,
    /// Its workers.
    pub(crate) workers: usize,
    /// How long their processor time is measured.
    pub(crate) span: Duration,
}

/// Subscribers of one channel.
const ROOM: usize = 100;
/// What a first client sets up once (buffers, pages of code) is no cost of a client.
const WARM_UP: usize = 200;
const AT_ONCE: usize = 256;
const SETTLE: Duration = Duration::from_millis(1_500);
/// How long the server without clients is watched.
const ALONE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"
[clients]
anonymous = true
[admin]
listen = "off"
[namespaces.room]
history_size = 100
recovery = "stream"
subscribe = "everyone"
"#;

struct Idle {
    server: Server,
    crowd: Crowd,
    clients: usize,
    inside: usize,
    pings: usize,
}

/// Runs the plan; the summary is for people and for keeping.
///
/// # Errors
/// When a client is not let in, or not kept.
pub(crate) fn run(plan: &Plan) -> Result<Value, String> {
    let ground = Ground::new(&plan.binary, plan.workers, CONFIG)?;
    let server = ground.start(None)?;
    let most = plan.clients.max(WARM_UP);
    let crowd = Crowd::new(most, server.address).map_err(|error| error.to_string())?;
    let mut idle = Idle {
        server,
        crowd,
        clients: 0,
        inside: 0,
        pings: 0,
    };
    idle.arrive(WARM_UP.min(plan.clients))?;
    idle.leave();
    idle.pass(SETTLE)?;
    let before = idle.server.usage().1;
    let alone = idle.watch(ALONE)?;
    idle.arrive(plan.clients / 2)?;
    let half = idle.server.usage().1;
    idle.arrive(plan.clients)?;
    idle.pass(SETTLE)?;
    let settled = idle.server.usage().1;
    idle.pings = 0;
    let busy = idle.watch(plan.span)?;
    let after = idle.server.usage().1;
    let each =
        |bytes: u64, of: u64, clients: usize| ((bytes as f64 - of as f64) / clients as f64).round();
    let rest = plan.clients - plan.clients / 2;
    let micros = |rate: f64| (rate * 1e6 / plan.clients as f64 * 1e3).round() / 1e3;
    Ok(json!({
        "schema": 1, "what": "idle hub", "clients": plan.clients, "workers": plan.workers,
        "seconds": plan.span.as_secs(), "pings": idle.pings, "rss_before": before, "rss_after": after,
        "bytes_per_client": each(settled.max(after), before, plan.clients),
        "bytes_per_client_before_pings": each(settled, before, plan.clients),
        "bytes_per_client_second_half": each(settled, half, rest),
        "cpu_us_per_s_per_client": micros(busy - alone), "cpu_us_per_s_without_clients": (alone * 1e6).round(),
    }))
}

impl Idle {
    /// Clients come until there are so many.
    fn arrive(&mut self, clients: usize) -> Result<(), String> {
        let begun = Instant::now();
        while self.inside < clients {
            while self.clients < clients && self.clients < self.inside + AT_ONCE {
                let opened = self.crowd.open(self.clients, Budget::ENDLESS);
                opened.map_err(|error| format!("client {}: {error}", self.clients))?;
                self.clients += 1;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} of {clients} came in {PATIENCE:?}", self.inside));
            }
            self.turn()?;
        }
        Ok(())
    }

    fn leave(&mut self) {
        (0..self.clients).for_each(|client| self.crowd.cut(client));
        (self.clients, self.inside) = (0, 0);
    }

    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Processor time of the server a second, meanwhile.
    fn watch(&mut self, span: Duration) -> Result<f64, String> {
        let (begun, before) = (Instant::now(), self.server.processor());
        self.pass(span)?;
        Ok((self.server.processor() - before) / begun.elapsed().as_secs_f64())
    }

    fn turn(&mut self) -> Result<(), String> {
        let heard = self.crowd.turn(Duration::from_millis(5), |_| true);
        for (client, heard) in heard.map_err(|error| error.to_string())? {
            self.hear(client, heard)?;
        }
        Ok(())
    }

    fn hear(&mut self, client: usize, heard: Heard) -> Result<(), String> {
        match heard {
            Heard::Upgraded => self.crowd.say(client, &json!({ "id": 1, "connect": {} })),
            Heard::Ping => self.pings += 1,
            Heard::Value(value) if value["connect"].is_object() => {
                let subscribe = json!({ "channel": format!("room:{}", client / ROOM) });
                self.crowd
                    .say(client, &json!({ "id": 2, "subscribe": subscribe }));
            }
            Heard::Value(value) if value["subscribe"].is_object() => self.inside += 1,
            Heard::Value(value) => return Err(format!("client {client}: {value}")),
            Heard::Closed(_) | Heard::Over => return Err(format!("client {client} was not kept")),
        }
        Ok(())
    }
}
