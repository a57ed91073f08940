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
    tests.env(
        "TIDEGATE_HTTP",
        format!("http://127.0.0.1:{}", server.port()),
    );
    tests.env("TIDEGATE_ADMIN_HTTP", server.admin()?);
    tests.env("TIDEGATE_PICTURES", pictures);
    tests.env_remove("FORCE_COLOR").env("NO_COLOR", "1");
    let finished = sh::show(&mut tests)?;
    if !finished.ok {
        println!("the server said:\n{}", server.said());
    }
    server.stop()?;
    Ok(Count::read(&finished))
}
