//! Other people's programs: their clients against `tidegate serve` with 1 and 4 workers; their clients, servers and
//! proxies against the library. Holds no test itself; those are in `tests/interop`.

use std::path::Path;
use std::process::Command;

use crate::server::{self, Server};
use crate::setup;
use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::tree;

/// The worker counts everything is tested with: publisher and subscriber on one, and on different ones.
pub(crate) const WORKERS: [&str; 2] = ["1", "4"];

/// `cargo xtask interop [--full] [filter]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let full = words.contains(&"--full");
    let filter = words
        .iter()
        .find(|word| !word.starts_with('-'))
        .map(|word| (*word).to_owned());
    let binary = server::build(false)?;
    let mut steps = Steps::new(filter);
    run(&mut steps, &binary, full);
    print!("{}", steps.table());
    steps.verdict()
}

/// One step for each language and worker count.
pub(crate) fn run(steps: &mut Steps, binary: &Path, full: bool) {
    for workers in WORKERS {
        step(
            steps,
            &format!("interop python, {workers} workers"),
            &["python"],
            || python(binary, workers, full),
        );
        step(
            steps,
            &format!("interop node, {workers} workers"),
            &["node", "npm"],
            || node(binary, workers),
        );
    }
    library(steps);
}

/// The library, through the example `peer`: clients and servers in Python and Node, and proxies in between.
fn library(steps: &mut Steps) {
    let parts = ["python", "proxies"];
    step(steps, "interop library, python", &parts, || {
        let mut tests = Command::new(setup::ensure("python")?);
        tests
            .args(["-B", "-m", "unittest", "discover", "--start-directory"])
            .arg(tree::root().join("tests/interop/library"));
        for name in ["nginx", "haproxy", "tinyproxy"] {
            let program = setup::proxy(name).ok_or(format!("{name} is gone"))?;
            tests.env(format!("TIDEGATE_{}", name.to_uppercase()), program);
        }
        peer(&mut tests)?;
        Ok(Count::read(&sh::show(&mut tests)?))
    });
    step(steps, "interop library, node", &["node", "npm"], || {
        let node = setup::ensure("node")?;
        let mut tests = setup::with_node(&node, node.clone());
        tests
            .args(["--test", "--test-force-exit", "--test-reporter=spec"])
            .args(modules("tests/interop/library")?);
        tests.env("TIDEGATE_NPM", setup::ensure("npm")?);
        peer(&mut tests)?;
        Ok(Count::read(&sh::show(&mut tests)?))
    });
}

/// Tells the tests where our peer is, and a certificate made for this run.
fn peer(tests: &mut Command) -> Result<()> {
    server::build_dev()?;
    let examples = tree::target().join("debug/examples");
    let pair = tree::target().join("interop/certificate");
    std::fs::create_dir_all(&pair)?;
    let mut certificate = Command::new(examples.join("autobahn"));
    sh::must(certificate.arg("certificate").arg(&pair))?;
    tests
        .env("TIDEGATE_PEER", examples.join("peer"))
        .env("TIDEGATE_BIN", tree::target().join("debug/tidegate"))
        .env("TIDEGATE_PAIR", pair);
    without_proxies(tests);
    Ok(())
}

/// A step that needs some parts of the set-up; without them it is noted as not run.
pub(crate) fn step(
    steps: &mut Steps,
    name: &str,
    parts: &[&str],
    run: impl FnOnce() -> Result<Count>,
) {
    if !steps.wants(name) {
        return;
    }
    match parts.iter().try_for_each(|part| {
        setup::ensure(part)
            .map(drop)
            .map_err(|why| format!("{part}: {why}"))
    }) {
        Ok(()) => steps.run(name, run),
        Err(why) => steps.cannot(name, &why),
    }
}

fn python(binary: &Path, workers: &str, full: bool) -> Result<Count> {
    let python = setup::ensure("python")?;
    with_servers(binary, workers, |plain, secure| {
        let mut tests = Command::new(python);
        tests
            .args(["-B", "-m", "unittest", "discover", "--start-directory"])
            .arg(tree::root().join("tests/interop/python"));
        addresses(&mut tests, plain, secure, workers);
        if full {
            tests.env("TIDEGATE_FULL", "1");
        }
        Ok(tests)
    })
}

fn node(binary: &Path, workers: &str) -> Result<Count> {
    let (node, npm) = (setup::ensure("node")?, setup::ensure("npm")?);
    with_servers(binary, workers, |plain, secure| {
        let mut tests = setup::with_node(&node, node.clone());
        tests
            .args(["--test", "--test-force-exit", "--test-reporter=spec"])
            .args(modules("tests/interop/node")?);
        tests.env("TIDEGATE_NPM", npm);
        addresses(&mut tests, plain, secure, workers);
        Ok(tests)
    })
}

/// Runs the tests that `command` makes against a plain and a TLS server, and asks both for a clean end.
fn with_servers(
    binary: &Path,
    workers: &str,
    command: impl FnOnce(&Server, &Server) -> Result<Command>,
) -> Result<Count> {
    let plain = Server::start(binary, &["--workers", workers])?;
    let secure = Server::start(binary, &["--workers", workers, "--dev-cert"])?;
    let file = tree::root().join("tests/interop/hub.toml");
    let file = file.to_str().ok_or("the tree's path is not UTF-8")?;
    let strict = Server::start(binary, &["--workers", workers, "--config", file])?;
    let mut tests = command(&plain, &secure)?;
    tests.env("TIDEGATE_HUB", format!("ws://127.0.0.1:{}", strict.port()));
    let finished = sh::show(&mut tests)?;
    if !finished.ok {
        for server in [&plain, &secure, &strict] {
            println!("the server said:\n{}", server.said());
        }
    }
    plain.stop()?;
    secure.stop()?;
    strict.stop()?;
    Ok(Count::read(&finished))
}

/// What the tests are told: where the servers are, and which process the plain one is.
fn addresses(tests: &mut Command, plain: &Server, secure: &Server, workers: &str) {
    tests.env("TIDEGATE_WS", format!("ws://127.0.0.1:{}", plain.port()));
    tests.env("TIDEGATE_WSS", format!("wss://127.0.0.1:{}", secure.port()));
    tests.env("TIDEGATE_PID", plain.pid().to_string());
    tests.env("TIDEGATE_WORKERS", workers);
    tests.env("TIDEGATE_API_KEY", server::API_KEY);
    without_proxies(tests);
}

/// Nothing of the environment leads the tests astray.
fn without_proxies(tests: &mut Command) {
    for name in ["NO_PROXY", "no_proxy"] {
        tests.env(name, "127.0.0.1,localhost");
    }
    tests.env_remove("FORCE_COLOR").env("NO_COLOR", "1");
}

/// The test modules of a folder: `*.test.mjs`, in order.
pub(crate) fn modules(folder: &str) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(tree::root().join(folder))? {
        let file = entry?.path();
        if file.to_string_lossy().ends_with(".test.mjs") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(format!("no tests in {folder}").into())
    } else {
        Ok(files)
    }
}
