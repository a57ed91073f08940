//! The page in a real Chromium, driven by playwright-core. Holds no test itself; those are in `tests/browser`.

use std::path::Path;

use crate::interop::{WORKERS, modules, step};
use crate::server::{self, Server};
use crate::setup;
use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::tree;

/// `cargo xtask browser`
pub(crate) fn job(_words: &[&str]) -> Result<()> {
    let binary = server::build(false)?;
    let mut steps = Steps::new(None);
    run(&mut steps, &binary);
    print!("{}", steps.table());
    steps.verdict()
}

/// One step for each worker count.
pub(crate) fn run(steps: &mut Steps, binary: &Path) {
    for workers in WORKERS {
        step(
            steps,
            &format!("browser, {workers} workers"),
            &["node", "npm", "chromium"],
            || chromium(binary, workers),
        );
    }
}

fn chromium(binary: &Path, workers: &str) -> Result<Count> {
    let node = setup::ensure("node")?;
    let pictures = tree::target().join("browser");
    std::fs::create_dir_all(&pictures)?;
    let server = Server::start(binary, &["--workers", workers])?;
    let origin = format!("http://127.0.0.1:{}", server.port());
    let file = tree::root().join("tests/interop/hub.toml");
    let file = file.to_str().ok_or("the tree's path is not UTF-8")?;
    // It wants tokens, and lets the first one's pages in.
    let strict = ["--workers", workers, "--config", file, "--origin", &origin];
    let strict = Server::start(binary, &strict)?;
    let mut tests = setup::with_node(&node, node.clone());
    // One file after another: two browsers at once on two cores make each other late.
    tests
        .args([
            "--test",
            "--test-force-exit",
            "--test-reporter=spec",
            "--test-concurrency=1",
        ])
        .args(modules("tests/browser")?);
    tests.env("TIDEGATE_NPM", setup::ensure("npm")?);
    tests.env("TIDEGATE_CHROMIUM", setup::ensure("chromium")?);
    tests.env("TIDEGATE_HTTP", &origin);
    tests.env("TIDEGATE_HUB", format!("ws://127.0.0.1:{}", strict.port()));
    tests.env("TIDEGATE_API_KEY", server::API_KEY);
    tests.env("TIDEGATE_ADMIN_HTTP", server.admin()?);
    tests.env("TIDEGATE_PICTURES", pictures);
    tests.env_remove("FORCE_COLOR").env("NO_COLOR", "1");
    let finished = sh::show(&mut tests)?;
    if !finished.ok {
        for server in [&server, &strict] {
            println!("the server said:\n{}", server.said());
        }
    }
    server.stop()?;
    strict.stop()?;
    Ok(Count::read(&finished))
}
