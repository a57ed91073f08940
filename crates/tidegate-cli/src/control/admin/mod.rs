//! The admin listener: health, metrics, the admin page and what it asks for. It is for operators, stands on an
//! address of its own, and reaches the hub by mail only.

mod access;
mod listener;
pub(crate) mod metrics;
mod monitor;
mod view;

pub(crate) use access::Access;
pub(crate) use listener::{Bound, bind, serve};
pub(crate) use monitor::{Monitor, ServerState};

use super::answer::{self, Answer, Answers};
use super::api::{self, Api, ask};
use super::reload::Reloader;
use crate::assets;
use crate::guard::evidence::Evidence;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Method, Request, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use tidegate_hub::Hub;

/// Everything the admin listener answers.
pub(crate) struct Admin {
    /// Who may do what.
    pub(crate) access: Arc<Access>,
    /// What was seen of the hub.
    pub(crate) monitor: Arc<Monitor>,
    /// The same methods as the HTTP API's.
    pub(crate) api: Arc<Api>,
    /// The hub.
    pub(crate) hub: Hub,
    /// What the guard before it has done, when there is one.
    pub(crate) guard: Option<Arc<Evidence>>,
    /// Reads the configuration again.
    pub(crate) reloader: Arc<Reloader>,
}

impl Answers for Admin {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        self.reply(request).await
    }
}

impl Admin {
    /// Answers one request.
    async fn reply<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(refusal) = self.access.refuse_host(&request) {
            return refusal;
        }
        let path = request.uri().path().to_owned();
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match (get, path.as_str()) {
            (true, "/healthz") => no_store(answer::line(StatusCode::OK, "ok")),
            (true, "/readyz") => self.ready(),
            (true, "/metrics") => self.metrics().await,
            (true, "/version") => version(),
            (false, "/healthz" | "/readyz" | "/metrics" | "/version") => answer::not_allowed(),
            (_, path) if path == "/reload" || path.starts_with("/admin/") => {
                self.guarded(path, request).await
            }
            (true, path) => match assets::find_admin(path) {
                Some(asset) => super::site::page(asset, request.headers()),
                None => answer::line(StatusCode::NOT_FOUND, "nothing here"),
            },
            (false, _) => answer::not_allowed(),
        }
    }

    fn ready(&self) -> Answer {
        match self.monitor.state().is_draining() {
            false => answer::line(StatusCode::OK, "ready"),
            true => answer::line(StatusCode::SERVICE_UNAVAILABLE, "draining"),
        }
    }

    async fn metrics(&self) -> Answer {
        let snapshot = self.monitor.fresh().await;
        let text = metrics::write(snapshot, self.monitor.counts(), self.guard.clone());
        no_store(answer::new(
            StatusCode::OK,
            text.into(),
            metrics::MEDIA_TYPE,
        ))
    }

    /// What needs a right.
    async fn guarded<B>(&self, path: &str, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(refusal) = self.access.refuse(&request) {
            return refusal;
        }
        let get = *request.method() == Method::GET;
        let post = *request.method() == Method::POST;
        match path {
            "/reload" if post => self.reload().await,
            "/admin/overview" if get => self.overview(request.uri().query()),
            "/admin/config" if get => {
                no_store(answer::json(view::config(&self.hub, &self.reloader)))
            }
            "/admin/slow" if get => self.clients(None, true).await,
            "/admin/clients" if get => {
                let user = query_value(request.uri().query(), "user");
                self.clients(user.as_deref(), false).await
            }
            _ => match (path.strip_prefix("/admin/api/"), post) {
                (Some(method), true) => self.call(method, request).await,
                _ => answer::line(StatusCode::NOT_FOUND, "nothing here"),
            },
        }
    }

    async fn call<B>(&self, method: &str, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match api::read_body(request, MAX_BODY).await {
            Ok(body) => api::reply(method, self.api.call(method, &body).await),
            Err(refusal) => refusal,
        }
    }

    async fn reload(&self) -> Answer {
        let (status, body) = match self.reloader.reload().await {
            Ok(notes) => (StatusCode::OK, json!({ "reloaded": true, "notes": notes })),
            Err(failure) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                json!({ "reloaded": false, "error": failure.line }),
            ),
        };
        let mut answer = no_store(answer::json(body.to_string()));
        *answer.status_mut() = status;
        answer
    }

    fn overview(&self, query: Option<&str>) -> Answer {
        let since = query_value(query, "since").and_then(|since| since.parse().ok());
        no_store(answer::json(
            self.monitor.overview(since.unwrap_or(0)).to_string(),
        ))
    }

    async fn clients(&self, user: Option<&str>, only_slow: bool) -> Answer {
        let user = user.filter(|user| !user.is_empty());
        match ask(|reply| self.hub.clients(user, only_slow, MAX_CLIENTS, reply)).await {
            Ok(list) => no_store(answer::json(view::clients(&list))),
            Err(error) => answer::line(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }
}

pub(crate) fn version() -> Answer {
    let body = json!({
        "schema": 1,
        "name": "tidegate",
        "version": env!("CARGO_PKG_VERSION"),
        "tls": "rustls with aws-lc-rs",
    });
    no_store(answer::json(body.to_string()))
}

pub(crate) fn no_store(mut answer: Answer) -> Answer {
    answer::set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found == name).then(|| super::query::percent_decode(value, true))?
    })
}

const MAX_BODY: usize = 1 << 20;
/// For each worker.
const MAX_CLIENTS: usize = 200;
