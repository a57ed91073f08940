//! What the configuration file may say, and where its faults are shown.

use super::*;

/// A file that is gone after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Scratch {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-config-{}-{n}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn load(text: &str) -> Result<Config, String> {
    let file = Scratch::new(text);
    let name = file.0.display().to_string();
    Config::load(Some(&file.0), std::iter::empty()).map_err(|failure| {
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!failure.line.contains('\n'), "{failure}");
        failure.line.replace(&name, "FILE")
    })
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = load("").expect("fine");
    assert!(config.file.channels.is_none());
    assert_eq!(config.file.limits.channels_per_client, 128);
    assert!(!config.file.clients.anonymous);
}

#[test]
fn faults_have_line_and_column() {
    let rows = [
        ("[server\n", "FILE:1:8: "),
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nworkerz = 2\n",
            "FILE:3:1: unknown key workerz; did you mean workers?",
        ),
        (
            "[sever]\n",
            "FILE:1:2: unknown key sever; did you mean server?",
        ),
        ("[server]\nworkers = \"two\"\n", "FILE:2:11: invalid type"),
        (
            "[namespaces.chat]\nhistory_size = 10\nhistory_ttl = \"10 minutes\"\n",
            "FILE:3:15: \"10 minutes\" is no duration",
        ),
        (
            "[limits]\nmessage_size = -1\n",
            "FILE:2:16: a size must not be negative",
        ),
        ("[limits]\nmessage_size = 1.5\n", "FILE:2:16: invalid type"),
        ("[log]\nformat = \"xml\"\n", "FILE:2:10: unknown variant"),
        ("a = 1\na = 2\n", "FILE:2:1: "),
        (
            "[api]\nkeys = [\"good\", \" \"]\n",
            "FILE:2:8: a secret must not be empty",
        ),
    ];
    for (text, expected) in rows {
        let said = load(text).expect_err(text);
        assert!(
            said.starts_with(expected),
            "{text:?}\n said {said}\n not  {expected}"
        );
    }
}

#[test]
fn a_fault_of_meaning_is_shown_at_its_key() {
    let file = Scratch::new("[namespaces.chat]\nrecovery = \"stream\"\n");
    let config = Config::load(Some(&file.0), std::iter::empty()).expect("it reads");
    let said = config
        .fault(&["namespaces", "chat", "recovery"], "needs history")
        .line;
    assert!(
        said.ends_with(":2:12: namespaces.chat.recovery: needs history"),
        "{said}"
    );
    let said = config.fault(&["tls", "key"], "needs certificate").line;
    assert_eq!(said, "configuration: tls.key: needs certificate");
}

#[test]
fn a_secret_never_shows_in_a_fault_or_a_dump() {
    let config =
        load("[tokens]\nhmac_secret = \"hunter2\"\n[api]\nkeys = [\"hunter3\"]\n").expect("fine");
    let dump = format!("{:?}", config.file);
    assert!(!dump.contains("hunter"), "{dump}");
}

#[test]
fn a_missing_file_is_named() {
    let failure =
        Config::load(Some(Path::new("no/such.toml")), std::iter::empty()).expect_err("none");
    assert!(
        failure.line.starts_with("no/such.toml: cannot be read"),
        "{failure}"
    );
}
