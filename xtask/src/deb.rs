//! The Debian package: built with `dpkg-deb` from `packaging/`, and looked into. It installs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::tree;

/// `cargo xtask deb [--binary FILE]`: the package of the program as it is shipped, or of this one; looked into
/// like in the tests.
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let binary = match words {
        ["--binary", file] => PathBuf::from(file),
        _ => {
            sh::must(
                Command::new(tree::cargo())
                    .args(["build", "-p", "tidegate-cli", "--profile", "dist"])
                    .current_dir(tree::root()),
            )?;
            tree::target().join("dist/tidegate")
        }
    };
    let package = build(&binary)?;
    match check(&package).failed {
        0 => println!("{}", package.display()),
        n => return Err(format!("{n} of the package's checks failed").into()),
    }
    Ok(())
}

/// The step of `cargo xtask test`: a package around the development build holds what it should, its
/// configuration is fine, and systemd finds nothing wrong with the unit.
pub(crate) fn step(steps: &mut Steps, binary: &Path) {
    if tree::which("dpkg-deb").is_none() {
        return steps.cannot(
            "package",
            "there is no dpkg-deb; on Debian: apt-get install dpkg",
        );
    }
    steps.run("package", || Ok(check(&build(binary)?)));
}

fn check(package: &Path) -> Count {
    let mut count = Count::default();
    for (what, check) in CHECKS {
        let result = check(package);
        if let Err(why) = &result {
            println!("package: {what}: {why}");
        }
        count += Count::one(result.is_ok());
    }
    count
}

type Check = fn(&Path) -> Result<()>;

const CHECKS: [(&str, Check); 4] = [
    ("its description", described),
    ("its files and their modes", complete),
    ("its program with its configuration", runs),
    ("its unit", verified),
];

/// Lays the files out and packs them.
fn build(binary: &Path) -> Result<PathBuf> {
    let dir = tree::target().join("deb");
    let stage = dir.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    for (from, to, mode) in FILES {
        install(&tree::root().join(from), &stage.join(to), mode)?;
    }
    install(binary, &stage.join("usr/bin/tidegate"), 0o755)?;
    let architecture = said(Command::new("dpkg-deb").arg("--version"))
        .and_then(|_| said(Command::new("dpkg").arg("--print-architecture")))
        .unwrap_or_else(|_| "amd64".to_owned());
    let control = control(architecture.trim(), size(&stage)?)?;
    fs::write(stage.join("DEBIAN/control"), control)?;
    fs::write(
        stage.join("DEBIAN/conffiles"),
        "/etc/tidegate/tidegate.toml\n",
    )?;
    let package = dir.join(format!(
        "tidegate_{}_{}.deb",
        version()?,
        architecture.trim()
    ));
    // Fast here; `--root-owner-group` so that it does not matter who builds.
    sh::must(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zgzip", "-z6", "--build"])
            .arg(&stage)
            .arg(&package),
    )?;
    Ok(package)
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    set_mode(to, mode)
}

#[cfg(unix)]
fn set_mode(file: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(mode))?)
}

#[cfg(not(unix))]
fn set_mode(_file: &Path, _mode: u32) -> Result<()> {
    Ok(())
}

fn control(architecture: &str, kib: u64) -> Result<String> {
    let version = version()?;
    Ok(format!(
        "Package: tidegate\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: The Tidegate authors <tidegate@localhost>\n\
         Installed-Size: {kib}\n\
         Depends: libc6, libgcc-s1\n\
         Recommends: ca-certificates\n\
         Section: net\n\
         Priority: optional\n\
         Homepage: https://github.com/tidegate/tidegate\n\
         Description: realtime server over WebSocket\n \
         Channels with history, recovery and presence for clients of the Centrifuge\n \
         protocol, tokens, an HTTP API for backends, metrics and an admin page.\n"
    ))
}

/// The workspace's version.
fn version() -> Result<String> {
    let text = fs::read_to_string(tree::root().join("Cargo.toml"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(line.ok_or("no version in Cargo.toml")?.to_owned())
}

/// What the installed files take, in KiB.
fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => entry.metadata()?.len().div_ceil(1024),
        };
    }
    Ok(sum)
}

fn described(package: &Path) -> Result<()> {
    let info = said(Command::new("dpkg-deb").arg("--info").arg(package))?;
    for word in [
        " Package: tidegate\n",
        &format!(" Version: {}\n", version()?),
        " Depends: libc6",
        "postinst",
        "prerm",
        "postrm",
        "conffiles",
    ] {
        if !info.contains(word) {
            return Err(format!("no {word:?} in\n{info}").into());
        }
    }
    Ok(())
}

fn complete(package: &Path) -> Result<()> {
    let listed = said(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let expected = FILES
        .iter()
        .filter(|(_, to, _)| !to.starts_with("DEBIAN/"))
        .map(|(_, to, mode)| (*to, *mode))
        .chain([("usr/bin/tidegate", 0o755)]);
    for (path, mode) in expected {
        let rights = if mode == 0o755 {
            "-rwxr-xr-x"
        } else {
            "-rw-r--r--"
        };
        let there = listed.lines().any(|line| {
            line.starts_with(rights)
                && line.contains("root/root")
                && line.ends_with(&format!(" ./{path}"))
        });
        if !there {
            return Err(format!("no {rights} root/root {path} in\n{listed}").into());
        }
    }
    Ok(())
}

/// The program from inside of the package takes the configuration that comes with it, and the example.
fn runs(package: &Path) -> Result<()> {
    let root = unpack(package)?;
    for config in [
        "etc/tidegate/tidegate.toml",
        "usr/share/doc/tidegate/tidegate.example.toml",
    ] {
        said(
            Command::new(root.join("usr/bin/tidegate"))
                .args(["serve", "--check-config", "--config"])
                .arg(root.join(config)),
        )?;
    }
    Ok(())
}

/// systemd reads the unit, where there is a systemd; its paths are those of the unpacked package.
fn verified(package: &Path) -> Result<()> {
    let root = unpack(package)?;
    let unit = fs::read_to_string(root.join(UNIT))?;
    for (name, value) in [
        ("Type", "notify"),
        ("DynamicUser", "yes"),
        ("ProtectSystem", "strict"),
    ] {
        if !unit.lines().any(|line| line == format!("{name}={value}")) {
            return Err(format!("no {name}={value} in the unit").into());
        }
    }
    if tree::which("systemd-analyze").is_none() {
        println!("package: no systemd-analyze here; the unit was read by us alone");
        return Ok(());
    }
    let copy = root.join("tidegate.service");
    let here = format!("ExecStart={}/usr/bin/tidegate", root.display());
    fs::write(&copy, unit.replace("ExecStart=/usr/bin/tidegate", &here))?;
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&copy)
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = complaint
        .lines()
        .filter(|line| line.contains("tidegate.service"))
        .collect();
    match output.status.success() && ours.is_empty() {
        true => Ok(()),
        false => Err(complaint.into_owned().into()),
    }
}

fn unpack(package: &Path) -> Result<PathBuf> {
    let root = tree::target().join("deb/unpacked");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    said(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(package)
            .arg(&root),
    )?;
    Ok(root)
}

/// What a program prints; its complaint when it fails.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

const UNIT: &str = "usr/lib/systemd/system/tidegate.service";

/// From the tree to the package, with modes.
const FILES: [(&str, &str, u32); 9] = [
    ("packaging/systemd/tidegate.service", UNIT, 0o644),
    (
        "packaging/deb/tidegate.toml",
        "etc/tidegate/tidegate.toml",
        0o644,
    ),
    ("packaging/deb/postinst", "DEBIAN/postinst", 0o755),
    ("packaging/deb/prerm", "DEBIAN/prerm", 0o755),
    ("packaging/deb/postrm", "DEBIAN/postrm", 0o755),
    (
        "tidegate.example.toml",
        "usr/share/doc/tidegate/tidegate.example.toml",
        0o644,
    ),
    ("CHANGELOG.md", "usr/share/doc/tidegate/CHANGELOG.md", 0o644),
    ("LICENSE-MIT", "usr/share/doc/tidegate/copyright", 0o644),
    (
        "LICENSE-APACHE",
        "usr/share/doc/tidegate/LICENSE-APACHE",
        0o644,
    ),
];
