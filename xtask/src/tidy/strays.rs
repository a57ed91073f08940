//! What has no place in the tree: the paths of somebody's machine, and hosts packages are fetched from. Each user's
//! own settings say those.

use super::Files;

/// Hosts that packages are downloaded from (their web pages may be linked to), and folders of one machine.
const STRAYS: &[&str] = &[
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "files.pythonhosted.org",
    "pypi.org/simple",
    "static.crates.io",
    "index.crates.io",
    "proxy.golang.org",
    "deb.debian.org",
    "/work/",
    "/root/",
    "/home/",
];
/// This file has to name them.
const SELF: &str = "xtask/src/tidy/strays.rs";
/// What attackers ask for is no path of this machine.
const PAYLOADS: &str = "tests/detection/payloads/";

pub(super) fn faults(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in files
        .texts
        .iter()
        .filter(|(path, _)| path != SELF && !path.starts_with(PAYLOADS))
    {
        for (number, line) in text.lines().enumerate() {
            if let Some(stray) = STRAYS.iter().find(|stray| line.contains(**stray)) {
                faults.push(format!("{path}:{}: {stray}", number + 1));
            }
        }
    }
    faults
}

pub(super) fn lock_faults(files: &Files) -> Vec<String> {
    let locks = files.below(&[""], "package-lock.json");
    locks
        .filter(|(_, text)| text.contains("\"resolved\""))
        .map(|(path, _)| format!("{path} has \"resolved\" fields"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Files, faults, lock_faults};

    #[test]
    fn strays_are_found() {
        let files = Files::of(&[
            (
                "a.md",
                "fine: https://pypi.org/project/websockets\nbad: /home/me/x\n",
            ),
            (
                "b/package-lock.json",
                "\"resolved\": \"https://registry.npmjs.org/ws\"",
            ),
        ]);
        assert_eq!(
            faults(&files),
            [
                "a.md:2: /home/",
                "b/package-lock.json:1: registry.npmjs.org"
            ]
        );
        assert_eq!(
            lock_faults(&files),
            ["b/package-lock.json has \"resolved\" fields"]
        );
    }
}
