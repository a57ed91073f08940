//! The guard's admin listener: health, metrics, version, its page, and who answers the orders. It changes nothing itself.

use super::evidence::Evidence;
use super::gate::{END_NAMES, Tally};
use super::orders::Orders;
use crate::assets;
use crate::control::Process;
use crate::control::admin::metrics::{Labels, MEDIA_TYPE, Out, Rows, scrape};
use crate::control::admin::{Access, ServerState, no_store, version};
use crate::control::answer::{self, Answer, Answers};
use crate::control::page;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_guard::{Number, RelayCounts};

/// What operators may ask.
pub(super) struct Admin {
    pub(super) access: Access,
    pub(super) state: Arc<ServerState>,
    pub(super) process: Process,
    pub(super) tally: Arc<Tally>,
    pub(super) evidence: Arc<Evidence>,
    pub(super) orders: Orders,
    /// Of each worker.
    pub(super) relays: Vec<Arc<RelayCounts>>,
}

impl Answers for Admin {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if let Some(refusal) = self.access.refuse_host(&request) {
            return refusal;
        }
        let order = matches!(
            request.uri().path(),
            "/reload" | "/revoke" | "/roles" | "/tickets"
        );
        if order && *request.method() == Method::POST {
            return self.order(request).await;
        }
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match (get, request.uri().path()) {
            (true, "/healthz") => no_store(answer::line(StatusCode::OK, "ok")),
            (true, "/readyz") if self.state.is_draining() => {
                answer::line(StatusCode::SERVICE_UNAVAILABLE, "draining")
            }
            (true, "/readyz") => answer::line(StatusCode::OK, "ready"),
            (true, "/metrics") => {
                let admin = Arc::clone(&self);
                let text = scrape(move |out| admin.write(out));
                no_store(answer::new(StatusCode::OK, text.into(), MEDIA_TYPE))
            }
            (true, "/version") => version(),
            (true, "/overview") => no_store(answer::json(self.overview().to_string())),
            (true, path) => match assets::find_guard(path) {
                Some(asset) => page(asset, request.headers()),
                None => answer::line(StatusCode::NOT_FOUND, "nothing here"),
            },
            (false, _) => answer::not_allowed(),
        }
    }
}

impl Admin {
    /// What the page shows.
    fn overview(&self) -> Value {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let tally = &self.tally;
        let (opened, closed) = (get(&tally.opened), get(&tally.closed));
        let relays = |c: &RelayCounts| {
            [&c.denied, &c.away, &c.refused, &c.wrong]
                .iter()
                .map(|n| n.get())
                .sum::<u64>()
        };
        let refused = self.relays.iter().map(|counts| relays(counts)).sum::<u64>();
        let verdicts = self.evidence.verdicts().into_iter();
        let verdicts = verdicts.map(|((route, rule, verdict), count)| {
            json!({ "route": route, "rule": rule, "verdict": verdict, "count": count })
        });
        let recent = self.evidence.recent().into_iter();
        let events = recent.map(|(at, (route, rule, verdict))| {
            json!({ "at": at.unix_millis(), "route": route, "rule": rule, "verdict": verdict })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.state.is_draining(),
            "connections": opened.saturating_sub(closed),
            "opened": opened,
            "refused": refused + get(&tally.crowded),
            "messages": {
                "to_server": self.sum(|c| &c.up[0]),
                "to_client": self.sum(|c| &c.down[0]),
            },
            "verdicts": verdicts.collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(),
        })
    }

    fn sum(&self, pick: impl Fn(&RelayCounts) -> &Number) -> u64 {
        self.relays.iter().map(|counts| pick(counts).get()).sum()
    }

    fn write(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let tally = &self.tally;
        let alone = |n: u64| -> Rows { vec![(vec![], n)] };
        let label = |key: &'static str, value: &str| -> Labels { vec![(key, value.to_owned())] };
        let (opened, closed) = (get(&tally.opened), get(&tally.closed));
        out.gauges(
            "guard_connections",
            "Clients open now",
            alone(opened.saturating_sub(closed)),
        )?;
        out.counters(
            "guard_connections_opened",
            "Clients paired with the upstream",
            alone(opened),
        )?;
        let ends = END_NAMES.iter().zip(&tally.ends);
        let ends: Rows = ends
            .map(|(name, n)| (label("cause", name), get(n)))
            .collect();
        out.counters(
            "guard_connections_closed",
            "Clients that ended, by close code",
            ends,
        )?;
        out.counters(
            "guard_handshakes_refused",
            "Requests for a WebSocket that were refused",
            vec![
                (label("cause", "crowded"), get(&tally.crowded)),
                (label("cause", "policy"), self.sum(|c| &c.denied)),
                (label("cause", "upstream_away"), self.sum(|c| &c.away)),
                (label("cause", "upstream_refused"), self.sum(|c| &c.refused)),
                (label("cause", "upstream_wrong"), self.sum(|c| &c.wrong)),
            ],
        )?;
        let ways = |up: u64, down: u64| -> Rows {
            vec![
                (label("direction", "to_server"), up),
                (label("direction", "to_client"), down),
            ]
        };
        out.counters(
            "guard_messages",
            "Messages that passed",
            ways(self.sum(|c| &c.up[0]), self.sum(|c| &c.down[0])),
        )?;
        out.counters(
            "guard_payload_bytes",
            "Payloads that passed",
            ways(self.sum(|c| &c.up[1]), self.sum(|c| &c.down[1])),
        )?;
        out.counters(
            "guard_protocol_errors",
            "Ends by a breach of the protocol or a limit",
            vec![
                (label("side", "client"), self.sum(|c| &c.offended)),
                (label("side", "upstream"), self.sum(|c| &c.broken)),
            ],
        )?;
        out.counters(
            "guard_floods",
            "Clients beyond their budget",
            alone(self.sum(|c| &c.flooded)),
        )?;
        self.evidence.write(out)?;
        out.gauges(
            "up",
            "1 while it serves, 0 while it drains",
            alone(u64::from(!self.state.is_draining())),
        )?;
        out.gauges(
            "resident_memory_bytes",
            "Memory",
            alone(self.process.memory()),
        )?;
        out.gauges("open_files", "Open files", alone(self.process.open_files()))
    }
}
