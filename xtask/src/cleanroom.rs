//! Both README commands in a bare Debian: what a machine that has been worked on would hide shows here. Only Debian's
//! smallest system, git, a C compiler and Rust are there; the clone is of HEAD. Machine settings (mirrors, proxies,
//! certificates) are taken from the host when it runs and never written into the tree.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::server::port_in;
use crate::setup;
use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::tree;

/// `cargo xtask cleanroom [serve|test]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let only = words.first().copied();
    let count = run(only)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 {
        Ok(())
    } else {
        Err("a README command does not work on a bare machine".into())
    }
}

/// The step in `cargo xtask test --full`.
pub(crate) fn step(steps: &mut Steps) {
    match prerequisites() {
        Ok(()) => steps.run("clean room", || run(None)),
        Err(why) => steps.cannot("clean room", &why.to_string()),
    }
}

fn prerequisites() -> Result<()> {
    if !setup::is_root() {
        return Err("needs root (debootstrap, mount, chroot)".into());
    }
    if tree::which("debootstrap").is_none() {
        setup::apt(&["debootstrap"])?;
    }
    Ok(())
}

fn run(only: Option<&str>) -> Result<Count> {
    prerequisites()?;
    let room = Room::prepare()?;
    let mut count = Count::default();
    let mut summary = format!(
        "The README's commands in a bare Debian (debootstrap minbase + git, gcc, libc6-dev and {})\n\n",
        sh::must(Command::new("rustc").arg("--version"))?.trim()
    );
    if only.is_none_or(|only| only == "serve") {
        let result = serve(&room);
        note(
            &mut summary,
            &mut count,
            "cargo run --release -- serve",
            result.map(|()| "the page is served at the printed URL".to_owned()),
        );
    }
    if only.is_none_or(|only| only == "test") {
        note(&mut summary, &mut count, "cargo xtask test", test(&room));
    }
    fs::remove_dir_all(&room.root)?;
    print!("\n{summary}");
    if only.is_none() {
        fs::write(tree::root().join("tests/cleanroom.txt"), &summary)?;
    }
    Ok(count)
}

fn note(summary: &mut String, count: &mut Count, command: &str, result: Result<String>) {
    *count += Count::one(result.is_ok());
    let (mark, said) = match result {
        Ok(said) => ("ok  ", said),
        Err(why) => ("FAIL", why.to_string()),
    };
    let _ = writeln!(summary, "{mark} {command:<30} {said}");
}

/// Starts the server by the README's words, reads its page and asks it to end.
fn serve(room: &Room) -> Result<()> {
    // The room shares the host's network, where the usual port may be taken.
    let mut child = room
        .command("cargo run --release -- serve")
        .env("TIDEGATE_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()?;
    let result = visit(&mut child);
    sh::signal(child.id(), "TERM")?;
    let status = child.wait()?;
    result?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("it ended with {status}").into())
    }
}

fn visit(child: &mut Child) -> Result<()> {
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let port = lines
        .map_while(std::result::Result::ok)
        .find_map(|line| port_in(&line))
        .ok_or("it ended without printing a URL")?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    if page.starts_with("HTTP/1.1 200") && page.to_lowercase().contains("<!doctype html") {
        return Ok(());
    }
    Err(format!(
        "no page at its URL:\n{}",
        page.chars().take(300).collect::<String>()
    )
    .into())
}

/// Runs the tests by the README's words; the last line says how many passed.
fn test(room: &Room) -> Result<String> {
    let finished = sh::show(room.command("cargo xtask test").env("CI", "true"))?;
    fs::write(tree::target().join("cleanroom/test.log"), &finished.output)?;
    let last = finished
        .output
        .lines()
        .rev()
        .find(|line| line.contains(" passed, ") && line.ends_with(" failed"))
        .unwrap_or("no summary line")
        .to_owned();
    if finished.ok {
        Ok(last)
    } else {
        Err(last.into())
    }
}

/// A bare Debian with a clone of HEAD in it.
struct Room {
    root: PathBuf,
    rust: PathBuf,
}

impl Room {
    fn prepare() -> Result<Self> {
        let folder = tree::target().join("cleanroom");
        fs::create_dir_all(&folder)?;
        let (base, root) = (folder.join("base"), folder.join("root"));
        if !base.join(".complete").exists() {
            println!("building a bare Debian");
            let _ = fs::remove_dir_all(&base);
            sh::must(
                Command::new("debootstrap")
                    .args(["--variant=minbase", PACKAGES, "bookworm"])
                    .arg(&base)
                    .args(mirror()),
            )?;
            fs::write(base.join(".complete"), "")?;
        }
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        sh::must(Command::new("cp").arg("-a").arg(&base).arg(&root))?;
        for setting in SETTINGS {
            copy_setting(Path::new(setting), &root)?;
        }
        if let Some(home) = std::env::home_dir() {
            for setting in HOME_SETTINGS {
                copy_to(&home.join(setting), &root.join("root").join(setting))?;
            }
        }
        sh::must(
            Command::new("git")
                .args(["clone", "--quiet", "--no-local"])
                .arg(tree::root())
                .arg(root.join("tidegate")),
        )?;
        fs::create_dir_all(root.join("opt/rust"))?;
        let rust = sh::must(
            Command::new("rustc")
                .args(["--print", "sysroot"])
                .current_dir(tree::root()),
        )?;
        Ok(Self {
            root,
            rust: rust.trim().into(),
        })
    }

    /// A command line typed in the clone. Mounts are made in a namespace of their own and go with it; the process that
    /// is started becomes the command itself, so its id is the command's.
    fn command(&self, line: &str) -> Command {
        let script = "set -e\n\
            mount --make-rprivate /\n\
            mount -t proc proc \"$1/proc\"\n\
            mount --rbind /dev \"$1/dev\"\n\
            mount --bind \"$2\" \"$1/opt/rust\"\n\
            mount -o remount,bind,ro \"$1/opt/rust\"\n\
            exec chroot \"$1\" /bin/sh -c \"cd /tidegate && exec $3\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "/bin/sh", "-c", script, "cleanroom"])
            .arg(&self.root)
            .arg(&self.rust)
            .arg(line);
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| says_where_the_network_is(name)));
        command.env("HOME", "/root").env("LANG", "C.UTF-8");
        command.env(
            "PATH",
            "/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
    }
}

/// Variables that tell programs how to reach the registries from this machine.
fn says_where_the_network_is(name: &str) -> bool {
    let name = name.to_uppercase();
    let kinds = [
        "PROXY",
        "CERT",
        "CA_BUNDLE",
        "CARGO_HTTP",
        "CARGO_NET",
        "CARGO_REGISTR",
        "PIP_INDEX",
        "PIP_EXTRA_INDEX",
        "NPM_CONFIG",
    ];
    kinds.iter().any(|kind| name.contains(kind))
}

/// The host's own Debian mirror, where it names one.
fn mirror() -> Option<String> {
    let files = [
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list",
    ];
    let text: String = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    let url = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with("http"))
            .map(str::to_owned)
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(url)
}

/// Copies a file or folder of the host to the same place in the room.
fn copy_setting(setting: &Path, root: &Path) -> Result<()> {
    copy_to(
        setting,
        &root.join(setting.strip_prefix("/").unwrap_or(setting)),
    )
}

fn copy_to(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let parent = to.parent().expect("a setting lies in a folder");
    fs::create_dir_all(parent)?;
    // Links are followed: what they lead to is not in the room.
    sh::must(
        Command::new("cp")
            .args(["-rL", "--remove-destination"])
            .arg(from)
            .arg(parent),
    )
    .map(drop)
}

/// What a machine that can have Rust and a clone has beside Debian's smallest system.
const PACKAGES: &str = "--include=ca-certificates,git,gcc,libc6-dev";
const SETTINGS: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs",
    "/etc/pip.conf",
    "/etc/npmrc",
    "/etc/apt/apt.conf.d",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/debian.sources",
];
const HOME_SETTINGS: &[&str] = &[".cargo/config.toml", ".config/pip", ".npmrc"];
