//! What operators and backends order on the admin listener: tickets, revocations, other roles, a reload. It
//! reaches the workers by mail.

use super::admin::Admin;
use super::evidence::now;
use super::plane::{Changes, InForce};
use crate::control::answer::{self, Answer};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tidegate::engine::Mailer;
use tidegate_guard::audit::{Event, What};
use tidegate_guard::credential::{Revocation, Revocations, RevokedBy, judge};
use tidegate_guard::door::Shared;
use tidegate_guard::written::Span;
use tidegate_guard::{RelayMail, Witness};
use tidegate_proto::WorkerId;

/// What orders need.
pub(super) struct Orders {
    pub(super) in_force: Arc<InForce>,
    pub(super) mailer: Mailer<RelayMail>,
    pub(super) shared: Shared,
    pub(super) witness: Witness,
    /// The same list as the workers': it says when it is full.
    pub(super) revocations: Mutex<Revocations>,
    pub(super) changes: OnceLock<Arc<Changes>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    by: By,
    value: String,
    /// How long it is kept in mind: at least as long as tokens last.
    #[serde(default = "a_day", rename = "for")]
    span: Span,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Jti,
    Sub,
    Sid,
}

fn a_day() -> Span {
    Span(Duration::from_secs(86_400))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles {
    sub: String,
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketFor {
    token: String,
    route: String,
    origin: Option<String>,
}

type Done = Result<serde_json::Value, (StatusCode, String)>;

impl Admin {
    /// Answers an order.
    pub(super) async fn order(&self, request: Request<Incoming>) -> Answer {
        if let Some(refusal) = self.access.refuse(&request) {
            return refusal;
        }
        let path = request.uri().path().to_owned();
        let orders = &self.orders;
        let done = match path.as_str() {
            "/reload" => orders.reload().await,
            "/revoke" => match read(request).await {
                Ok(order) => orders.revoke(order).await,
                Err(fault) => Err(fault),
            },
            "/roles" => match read(request).await {
                Ok(order) => orders.roles(order).await,
                Err(fault) => Err(fault),
            },
            _ => match read(request).await {
                Ok(order) => orders.ticket(order),
                Err(fault) => Err(fault),
            },
        };
        match done {
            Ok(value) => answer::json(format!("{value}\n")),
            Err((status, why)) => answer::line(status, &why),
        }
    }
}

impl Orders {
    async fn reload(&self) -> Done {
        let changes = self.changes.get();
        let changes = changes.ok_or((StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned()))?;
        match changes.reload().await {
            Ok(()) => Ok(json!({ "reloaded": true })),
            Err(failure) => Err((StatusCode::BAD_REQUEST, failure.line)),
        }
    }

    async fn revoke(&self, order: Revoke) -> Done {
        let (at, by) = (now(), order.by.claim());
        let revocation = Revocation {
            by,
            value: order.value.as_str().into(),
            at,
            until: at + order.span.0,
        };
        let kept = {
            let mut list = self
                .revocations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            list.add(revocation.clone())
        };
        kept.map_err(|_| {
            let why = "too many revocations are in force; revoke by sub, or for a shorter time";
            (StatusCode::INSUFFICIENT_STORAGE, why.to_owned())
        })?;
        (self.witness)(Event {
            at,
            connection: 0,
            what: What::Revoked {
                by: by.name(),
                value: revocation.value.clone(),
            },
        });
        self.tell(|| RelayMail::Revoke(revocation.clone())).await
    }

    async fn roles(&self, order: Roles) -> Done {
        let subject: Arc<str> = order.sub.into();
        let roles: Arc<[Box<str>]> = order.roles.into_iter().map(Into::into).collect();
        self.tell(|| RelayMail::Roles(Arc::clone(&subject), Arc::clone(&roles)))
            .await
    }

    /// Changes a token for a ticket.
    fn ticket(&self, order: TicketFor) -> Done {
        let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
        let settings = self.in_force.get();
        let policy = &settings.policy;
        let route = policy
            .routes()
            .iter()
            .find(|route| *route.name == *order.route);
        let route = route.ok_or_else(|| bad("there is no route of that name"))?;
        let auth = route
            .auth
            .as_ref()
            .ok_or_else(|| bad("the route asks for no credential"))?;
        let at = now();
        let bearer = judge(
            &order.token,
            &policy.issuers,
            auth,
            &self.shared.verifier,
            at,
        )
        .map_err(|why| bad(&format!("the token is not believed: {why}")))?;
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let mut tickets = self
            .shared
            .tickets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let origin = order.origin.as_deref();
        let ticket = tickets.give(random, bearer, &route.name, origin, auth.ticket_ttl, at);
        let ticket = ticket.map_err(|_| {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many tickets wait".to_owned(),
            )
        })?;
        Ok(json!({ "ticket": ticket, "seconds": auth.ticket_ttl.as_secs() }))
    }

    /// Mails every worker; a full mailbox is tried again for a while.
    async fn tell(&self, mail: impl Fn() -> RelayMail) -> Done {
        for worker in 0..self.mailer.workers() {
            let worker = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
            let mut attempts = 0;
            while self.mailer.post(worker, mail()).is_err() {
                attempts += 1;
                if attempts > 100 {
                    let why = format!("worker {} takes no mail; try again", worker.0);
                    return Err((StatusCode::SERVICE_UNAVAILABLE, why));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(json!({ "done": true }))
    }
}

impl By {
    fn claim(&self) -> RevokedBy {
        match self {
            By::Jti => RevokedBy::Token,
            By::Sub => RevokedBy::Subject,
            By::Sid => RevokedBy::Session,
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, (StatusCode, String)> {
    let body: Bytes = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err((StatusCode::PAYLOAD_TOO_LARGE, "at most 16 KiB".to_owned())),
    };
    serde_json::from_slice(&body).map_err(|why| {
        (
            StatusCode::BAD_REQUEST,
            format!("not this order's JSON: {why}"),
        )
    })
}

const MAX_BODY: usize = 16 << 10;
