//! The two programs that hold the cases: how each is started. Their verdicts are judged elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::setup;
use crate::sh::Result;
use crate::tree;

/// Who asks the questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    /// The same case files on Python 3, from a wheel: what any machine can run. It has no TLS.
    Kosoku,
    /// Autobahn|Testsuite itself, on CPython 2.7: the reference.
    Wstest,
}

impl Engine {
    pub(super) fn read(name: &str) -> Result<Self> {
        match name {
            "kosoku" => Ok(Self::Kosoku),
            "wstest" => Ok(Self::Wstest),
            _ => Err(format!("no engine {name}; there are kosoku and wstest").into()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kosoku => "kosoku 0.1.0",
            Self::Wstest => "Autobahn|Testsuite 25.10.1",
        }
    }

    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Kosoku => "kosoku",
            Self::Wstest => "wstest",
        }
    }

    /// What speaks TLS for it: itself or a tunnel.
    pub(super) fn has_tls(self) -> bool {
        self == Self::Wstest
    }

    /// The program that puts these cases to the server at `url` and writes its report into `out/report`.
    pub(super) fn client(self, url: &str, cases: &[String], out: &Path) -> Result<Command> {
        match self {
            Self::Kosoku => {
                let address = url
                    .strip_prefix("ws://")
                    .ok_or("kosoku speaks ws:// only")?;
                kosoku("fuzzingclient", address, cases, out)
            }
            Self::Wstest => {
                let server = json!([{ "agent": AGENT, "url": url }]);
                wstest("fuzzingclient", json!({ "servers": server }), cases, out)
            }
        }
    }

    /// The program that puts these cases to a client, listening on `port` of 127.0.0.1; with TLS if it is
    /// given a folder with `cert.pem` and `key.pem`.
    pub(super) fn server(
        self,
        port: u16,
        tls: Option<&Path>,
        cases: &[String],
        out: &Path,
    ) -> Result<Command> {
        match (self, tls) {
            (Self::Kosoku, None) => {
                kosoku("fuzzingserver", &format!("127.0.0.1:{port}"), cases, out)
            }
            (Self::Kosoku, Some(_)) => Err("kosoku speaks ws:// only".into()),
            (Self::Wstest, None) => {
                let url = format!("ws://127.0.0.1:{port}");
                wstest("fuzzingserver", json!({ "url": url }), cases, out)
            }
            (Self::Wstest, Some(pair)) => {
                let spec = json!({
                    "url": format!("wss://127.0.0.1:{port}"),
                    "cert": pair.join("cert.pem"),
                    "key": pair.join("key.pem"),
                });
                wstest("fuzzingserver", spec, cases, out)
            }
        }
    }
}

fn kosoku(mode: &str, address: &str, cases: &[String], out: &Path) -> Result<Command> {
    let mut command = Command::new(setup::ensure("python")?);
    command.arg("-B").arg(launcher("run_kosoku.py"));
    command.args(["-m", mode, address, "-o"]);
    command.arg(out.join("report"));
    command.args(cases.iter().map(|case| format!("--include={case}")));
    Ok(command)
}

fn wstest(
    mode: &str,
    mut spec: serde_json::Value,
    cases: &[String],
    out: &Path,
) -> Result<Command> {
    spec["outdir"] = json!(out.join("report"));
    spec["cases"] = json!(cases);
    spec["exclude-cases"] = json!([]);
    spec["exclude-agent-cases"] = json!({});
    // Three times the suite's own patience with a handshake and a close, for a machine that has more to do.
    spec["options"] = json!({ "openHandshakeTimeout": 15, "closeHandshakeTimeout": 3 });
    if mode == "fuzzingclient" {
        spec["options"]["serverConnectionDropTimeout"] = json!(3);
    }
    let file = out.join("spec.json");
    fs::write(&file, spec.to_string())?;
    let mut command = Command::new(setup::ensure("wstest")?);
    command.arg("-B").arg(launcher("run_wstest.py"));
    command.args(["-m", mode, "--webport", "0", "-s"]);
    command.arg(file);
    Ok(command)
}

/// What starts an engine, and says what it changes of it.
fn launcher(name: &str) -> PathBuf {
    tree::root().join("tests/conformance").join(name)
}

/// What we call ourselves in the reports.
pub(super) const AGENT: &str = "tidegate";
