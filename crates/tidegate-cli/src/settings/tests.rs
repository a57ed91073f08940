//! What flags, file and defaults come to.

use super::*;
use crate::cli::{Cli, Command};
use crate::error::Exit;
use clap::Parser;

fn check_with(flags: &str, config: &Config) -> Result<Settings, Failure> {
    let words = ["tidegate", "serve"]
        .into_iter()
        .chain(flags.split_whitespace());
    #[allow(irrefutable_let_patterns)] // there may be one command or more
    let Command::Serve(args) = Cli::try_parse_from(words).expect("flags").command else {
        panic!("not serve");
    };
    Settings::check(&args, config)
}

fn check(flags: &str) -> Result<Settings, Failure> {
    check_with(flags, &Config::default())
}

fn with_file(flags: &str, text: &str) -> Result<Settings, String> {
    let config = Config::of_text("FILE", text).map_err(|failure| failure.line)?;
    check_with(flags, &config).map_err(|failure| failure.line)
}

#[test]
fn what_others_can_reach_has_to_be_asked_for() {
    let rows = [
        ("", true, ""),
        ("--listen [::1]:0", true, ""),
        ("--listen 127.8.8.8:1", true, ""),
        ("--listen 0.0.0.0:0", false, "--allow-plain"),
        ("--listen 0.0.0.0:0 --dev", false, "--allow-plain"),
        ("--listen [::]:0 --allow-plain", false, "--dev"),
        ("--listen 0.0.0.0:0 --dev-cert", false, "say --dev "),
        ("--listen 192.0.2.1:0 --allow-plain --dev", true, ""),
        ("--listen 0.0.0.0:0 --dev-cert --dev", true, ""),
        ("--admin 0.0.0.0:0", false, "token"),
    ];
    for (flags, fine, said) in rows {
        match check(flags) {
            Ok(_) => assert!(fine, "{flags}"),
            Err(failure) => {
                assert!(!fine, "{flags}: {failure}");
                assert_eq!(failure.exit, Exit::Usage);
                assert!(
                    failure.line.contains(said) && !failure.line.contains('\n'),
                    "{failure}"
                );
            }
        }
    }
}

#[test]
fn a_configuration_with_keys_may_be_served_to_others() {
    let keys = "[tokens]\nhmac_secret = \"s\"\n";
    assert!(with_file("--listen 0.0.0.0:0 --allow-plain", keys).is_ok_and(|s| !s.dev));
    assert!(with_file("--listen 0.0.0.0:0 --allow-plain", "").is_err());
    let anonymous =
        "[server]\nallow_plain = true\nlisten = \"0.0.0.0:0\"\n[clients]\nanonymous = true\n";
    assert!(with_file("", anonymous).is_ok_and(|s| s.live.hub.anonymous && !s.dev));
}

#[test]
fn a_configuration_ends_development_mode_unless_it_says_otherwise() {
    assert!(check("").is_ok_and(|s| s.dev && s.live.hub.anonymous));
    assert!(with_file("", "").is_ok_and(|s| !s.dev && !s.live.hub.anonymous));
    assert!(with_file("--dev", "").is_ok_and(|s| s.dev));
    assert!(with_file("", "[server]\ndevelopment = true\n").is_ok_and(|s| s.dev));
}

#[test]
fn flags_override_the_file() {
    let text = "[server]\nlisten = \"127.0.0.1:9\"\nworkers = 3\nallowed_origins = [\"https://a.example\"]\n\
        [drain]\ndeadline = \"7s\"\nwindow = \"1h\"\n[log]\nfilter = \"warn\"\n[admin]\nlisten = \"off\"\n";
    let settings = with_file("", text).expect("fine");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:9");
    assert_eq!(settings.workers, 3);
    assert_eq!(settings.admin, None);
    assert_eq!(settings.live.log, "warn");
    assert_eq!(settings.live.drain, Duration::from_secs(7));
    assert_eq!(settings.live.door.pace.window, Duration::from_millis(3_500));
    assert!(matches!(&settings.live.door.origins, OriginPolicy::Listed(l) if l.len() == 1));
    let flags = "--listen 127.0.0.1:10 --workers 2 --any-origin --drain 1 --log debug --admin 9001";
    let settings = with_file(flags, text).expect("fine");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:10");
    assert_eq!(settings.workers, 2);
    assert_eq!(settings.live.log, "debug");
    assert_eq!(settings.live.drain, Duration::from_secs(1));
    assert_eq!(settings.live.door.origins, OriginPolicy::Any);
    let admin = settings.admin.expect("asked for");
    assert_eq!(admin.address.to_string(), "127.0.0.1:9001");
}

#[test]
fn the_admin_listener_stands_beside_the_server() {
    let of = |flags: &str| {
        check(flags)
            .expect("fine")
            .admin
            .map(|admin| admin.address.port())
    };
    assert_eq!(of(""), Some(8001));
    assert_eq!(of("--listen 9000"), Some(8001));
    assert_eq!(of("--listen 0"), Some(0));
    assert_eq!(of("--admin off"), None);
}

#[test]
fn what_a_table_says_together_is_checked_at_its_key() {
    let rows = [
        (
            "[namespaces.chat]\nrecovery = \"stream\"\n",
            "FILE:2:12: namespaces.chat.recovery: needs history",
        ),
        (
            "[channels]\nsee_presence = \"users\"\n",
            "FILE:2:16: channels.see_presence: needs presence",
        ),
        (
            "[channels]\nleave_grace = \"5s\"\n",
            "FILE:2:15: channels.leave_grace: needs presence_by",
        ),
        (
            "[channels.delivery]\nkey = \"symbol\"\n",
            "FILE:2:7: channels.delivery.key: a JSON pointer",
        ),
        (
            "[namespaces.\"a:b\"]\n",
            "FILE:1:1: namespaces.a:b: a namespace's name",
        ),
        (
            "[clients]\npersonal_namespace = \"mine\"\n",
            "FILE:2:22: clients.personal_namespace: there is no",
        ),
        (
            "[clients]\nping = \"10ms\"\n",
            "FILE:2:8: clients.ping: at least 1s",
        ),
        (
            "[limits]\nmessage_size = 3\n",
            "FILE:2:16: limits.message_size: from 256",
        ),
        (
            "[server]\nlisten = \"nowhere\"\n",
            "FILE:2:10: server.listen: expected an address",
        ),
        (
            "[server]\nworkers = 0\n",
            "FILE:2:11: server.workers: from 1",
        ),
        (
            "[server]\ntrusted_proxies = [\"proxy.example\"]\n",
            "FILE:2:19: server.trusted_proxies: proxy.example: expected an address or a network",
        ),
        (
            "[server]\nallowed_origins = [\"a.example\"]\n",
            "FILE:2:19: server.allowed_origins: a.example: expected",
        ),
        (
            "[tokens]\nissuer = \"me\"\n",
            "FILE:2:10: tokens.issuer: there is no key",
        ),
        (
            "[tokens]\njwks_url = \"http://keys.example/\"\n",
            "FILE:2:12: tokens.jwks_url: ",
        ),
        (
            "[tokens]\npublic_keys = [\"no/such.pem\"]\n",
            "FILE:2:15: tokens.public_keys: no/such.pem cannot be read",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:0\"\n",
            "FILE:2:10: admin.listen: 0.0.0.0:0 can be reached",
        ),
        ("[log]\nfilter = \"a=b=c\"\n", "--log a=b=c"),
        ("[tls]\nkey = \"a.pem\"\n", "needs"),
    ];
    for (text, expected) in rows {
        let said = with_file("", text)
            .err()
            .unwrap_or_else(|| panic!("{text}: it was taken"));
        assert!(
            said.contains(expected),
            "{text:?}\n said {said}\n not  {expected}"
        );
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn a_namespace_means_what_it_says() {
    use tidegate_hub::{Access, RecoveryMode, Slow, TopicName, Who};
    let text = "[clients]\nanonymous = true\n[channels]\nsubscribe = \"everyone\"\n[namespaces.market]\nhistory_size = 50\n\
        history_ttl = \"1m\"\nrecovery = \"cache\"\nsubscribe = \"users\"\nread_history = \"subscribers\"\n\
        [namespaces.market.delivery]\nconflate = true\nmax_hz = 10\nkey = \"/symbol\"\nslow = \"conflate\"\nslow_hz = 3\n";
    let hub = with_file("", text).expect("fine").live.hub;
    let market = hub.namespaces.get("market").expect("it is there");
    assert_eq!(
        (market.history_size, market.history_ttl.as_secs()),
        (50, 60)
    );
    assert_eq!(market.recovery, RecoveryMode::Cache);
    assert_eq!(
        (market.subscribe, market.publish),
        (Who::Users, Who::Nobody)
    );
    assert_eq!(market.delivery.slow, Slow::Conflate { hz: 3 });
    assert_eq!(market.delivery.key.as_deref(), Some("/symbol"));
    let plain = TopicName::parse("anything").expect("a name");
    assert!(hub.allow(&plain, Access::Subscribe).is_ok());
    let other = TopicName::parse("chat:1").expect("a name");
    assert!(
        hub.allow(&other, Access::Subscribe).is_err(),
        "no table, no channel"
    );
}

#[test]
fn origins_are_read_or_refused() {
    assert!(matches!(
        check("").map(|s| s.live.door.origins.clone()),
        Ok(OriginPolicy::SameOrigin)
    ));
    assert!(matches!(
        check("--any-origin").map(|s| s.live.door.origins.clone()),
        Ok(OriginPolicy::Any)
    ));
    let two = "--origin https://a.example --origin http://b.example:81";
    assert!(
        matches!(check(two).map(|s| s.live.door.origins.clone()), Ok(OriginPolicy::Listed(l)) if l.len() == 2)
    );
    for bad in ["a.example", "https://a.example/path", "null", "*"] {
        let failure = check(&format!("--origin {bad}")).err().expect("refused");
        assert!(
            failure.line.starts_with(&format!("--origin {bad}:")),
            "{failure}"
        );
    }
}

#[test]
fn half_a_certificate_is_a_usage_error() {
    for flags in ["--tls-cert a.pem", "--tls-key a.pem"] {
        assert_eq!(check(flags).err().expect("refused").exit, Exit::Usage);
    }
    let failure = check("--tls-cert no/such.pem --tls-key no/such.key")
        .err()
        .expect("refused");
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.line.contains("no/such.pem"), "{failure}");
}

/// The example with every key in force that is only shown: `#key = value`.
fn uncommented(example: &str) -> String {
    let shown = |line: &str| {
        let rest = line.strip_prefix('#').unwrap_or(line);
        let is_key = rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        if is_key { rest } else { line }.to_owned()
    };
    example.lines().map(shown).collect::<Vec<_>>().join("\n")
}

const EXAMPLE: &str = include_str!("../../../../tidegate.example.toml");

#[test]
fn the_example_is_fine_as_it_stands() {
    let settings = with_file("", EXAMPLE).expect("fine");
    assert!(!settings.dev);
    assert!(settings.live.hub.namespaces.get("chat").is_some());
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let text = uncommented(EXAMPLE);
    let config = Config::of_text("FILE", &text);
    assert!(
        config.is_ok(),
        "{}",
        config.err().map_or(String::new(), |e| e.line)
    );
    let whole: toml::Table = toml::from_str(&text).expect("TOML");
    let table = |path: &str| {
        path.split('.')
            .try_fold(&whole, |table, name| table.get(name)?.as_table())
    };
    for path in [
        "server",
        "tls",
        "log",
        "drain",
        "admin",
        "api",
        "clients",
        "tokens",
        "limits",
        "namespaces.chat",
        "namespaces.market.delivery",
    ] {
        let complaint = Config::of_text("FILE", &format!("[{path}]\nzzzzzzzzzzzz = 1\n"));
        let said = complaint.expect_err("no such key").line;
        let names = said.split_once("there are ").expect("the names").1;
        let shown = table(path).unwrap_or_else(|| panic!("no [{path}]"));
        for name in names.split(", ").filter(|name| *name != "delivery") {
            assert!(shown.contains_key(name), "{name} in [{path}] is not shown");
        }
    }
}

#[test]
fn a_default_that_the_example_shows_is_the_default() {
    let text = uncommented(EXAMPLE);
    let section = |name: &str| {
        let from = text.find(&format!("\n[{name}]\n")).expect("the table") + 1;
        let end = text[from + 1..]
            .find("\n[")
            .map_or(text.len(), |end| from + 1 + end);
        let lines: Vec<&str> = text[from..end]
            .lines()
            .filter(|line| !line.contains("default: none") && !line.contains("default: what"))
            .filter(|line| !line.starts_with("personal_namespace"))
            .collect();
        lines.join("\n")
    };
    for name in ["drain", "limits", "clients"] {
        let shown = Config::of_text("FILE", &section(name)).expect("fine").file;
        let default = Config::default().file;
        let (shown, default) = match name {
            "drain" => {
                assert_eq!(shown.drain.deadline.map(|d| d.0.as_secs()), Some(30));
                let plain = |mut drain: crate::config::File| {
                    drain.drain.deadline = None;
                    format!("{:?}", drain.drain)
                };
                (plain(shown), plain(default))
            }
            "limits" => (
                format!("{:?}", shown.limits),
                format!("{:?}", default.limits),
            ),
            _ => (
                format!("{:?}", shown.clients),
                format!("{:?}", default.clients),
            ),
        };
        assert_eq!(shown, default, "[{name}]");
    }
}
