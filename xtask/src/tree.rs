//! Where things are: the repository, the target folder, the tools, the built binary. Never creates anything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::sh::{self, Result};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies one folder below the root")
}

/// What `cargo metadata` says of the workspace's own packages.
pub(crate) fn metadata() -> &'static Value {
    static METADATA: OnceLock<Value> = OnceLock::new();
    METADATA.get_or_init(|| {
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1", "--quiet"])
            .current_dir(root())
            .output()
            .expect("cargo runs, for it started this program");
        assert!(
            output.status.success(),
            "cargo metadata failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
    })
}

/// Cargo's target folder, wherever the environment or a config file has put it.
pub(crate) fn target() -> PathBuf {
    PathBuf::from(
        metadata()["target_directory"]
            .as_str()
            .expect("cargo metadata names the target folder"),
    )
}

/// Where everything that set-up installs goes (the system's packages excepted).
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The cargo that started this program.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The triple of this machine, as rustc calls it.
pub(crate) fn host() -> Result<String> {
    let text = sh::must(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV names no host")?.to_owned())
}

/// The first program of that name on the PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// True under CI, where nothing may be left out.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
