//! What the command line says when something is wrong: one line on stderr and the right exit code.

use crate::support::process::{Scratch, Server, run};
use std::net::TcpListener;

/// One line on stderr that begins with `tidegate: ` and has all of `words`, nothing on stdout, exit `code`.
fn complains(arguments: &[&str], code: i32, words: &[&str]) {
    let ended = run(arguments);
    let said = &ended.stderr;
    assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.starts_with("tidegate: "), "{arguments:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
    assert_eq!(ended.stdout, "", "{arguments:?}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (arguments, word) in [
        (&["--help"][..], "tidegate serve --dev-cert"),
        (&["serve", "--help"], "TIDEGATE_LISTEN"),
        (&["-V"], env!("CARGO_PKG_VERSION")),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let ended = run(arguments);
        assert_eq!(ended.status.code(), Some(0));
        assert!(
            ended.stdout.contains(word),
            "{arguments:?}: {}",
            ended.stdout
        );
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn no_command_shows_the_help_and_is_a_usage_error() {
    let ended = run(&[]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("serve"));
}

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    complains(&["serve", "--lisen", "8000"], 2, &["--lisen", "--listen"]);
    complains(&["serv"], 2, &["serv"]);
    complains(
        &["serve", "--listen", "nonsense"],
        2,
        &["--listen", "127.0.0.1:8000"],
    );
    complains(&["serve", "--workers", "0"], 2, &["--workers"]);
    complains(&["serve", "--log", "a=b=c"], 2, &["--log"]);
    complains(&["serve", "--origin", "not an origin"], 2, &["--origin"]);
    complains(&["serve", "--tls-cert", "a.pem"], 2, &["--tls-key"]);
    complains(
        &["serve", "--dev-cert", "--tls-cert", "a.pem"],
        2,
        &["--tls-cert"],
    );
}

#[test]
fn addresses_that_others_reach_have_to_be_asked_for() {
    complains(
        &["serve", "--listen", "0.0.0.0:0"],
        2,
        &["--allow-plain", "--tls-cert"],
    );
    complains(
        &["serve", "--listen", "0.0.0.0:0", "--allow-plain"],
        2,
        &["--dev", "127.0.0.1"],
    );
    complains(
        &["serve", "--listen", "[::]:0", "--dev-cert"],
        2,
        &["--dev"],
    );
}

#[test]
fn a_taken_port_is_exit_5_and_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address").to_string();
    let port = address.rsplit(':').next().expect("a port");
    complains(
        &["serve", "--listen", &address],
        5,
        &[port, "taken", "--listen"],
    );
}

#[test]
fn two_servers_do_not_share_a_port() {
    let first = Server::start(&[]);
    complains(
        &["serve", "--listen", &first.address.to_string()],
        5,
        &["taken"],
    );
}

#[test]
fn bad_certificates_are_exit_1_and_the_file_is_named() {
    let make =
        || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (one, other) = (make(), make());
    let cert = Scratch::new("cert.pem", &one.cert.pem());
    let key = Scratch::new("key.pem", &one.signing_key.serialize_pem());
    let other_key = Scratch::new("other-key.pem", &other.signing_key.serialize_pem());
    let junk = Scratch::new("junk.pem", "this is no PEM\n");
    let serve = |cert: &str, key: &str, words: &[&str]| {
        complains(
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--tls-cert",
                cert,
                "--tls-key",
                key,
            ],
            1,
            words,
        );
    };
    serve(
        "no/such.pem",
        key.path(),
        &["no/such.pem", "cannot be read"],
    );
    serve(
        cert.path(),
        "no/such.key",
        &["no/such.key", "cannot be read"],
    );
    serve(junk.path(), key.path(), &[junk.path(), "certificate"]);
    serve(cert.path(), junk.path(), &[junk.path(), "private key"]);
    serve(
        cert.path(),
        other_key.path(),
        &[other_key.path(), "does not belong"],
    );
}
