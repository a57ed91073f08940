//! Exit codes, documents, bounds and secrets.

use crate::bad;
use crate::support::{check, found, report};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread;

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("it speaks UTF-8")
}

/// A socket that gives everybody this answer.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("ws://{addr}/")
}

#[test]
fn findings_are_exit_code_1_from_the_severity_that_was_set() {
    let url = format!("ws://{}/", bad::serve(&["foreign origin"]));
    let quick = ["--level", "handshake", "--only", "H1", "--color", "never"];
    let output = check(&[&[url.as_str()], &quick[..]].concat());
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("high      H1.foreign-origin"), "{shown}");
    assert!(
        shown.contains("sent      Origin: http://evil.example"),
        "{shown}"
    );
    assert!(
        shown.contains("CWE-1385") && shown.contains("no grade"),
        "{shown}"
    );
    assert!(!shown.contains('\x1b'), "{shown}");
    let output = check(&[&[url.as_str(), "--fail-on", "critical"], &quick[..]].concat());
    assert_eq!(code(&output), 0);
}

#[test]
fn other_machines_are_not_asked_without_leave() {
    // 192.0.2.0/24 is nobody's (RFC 5737); nothing is sent there, for it is refused before.
    let output = check(&["ws://192.0.2.1/"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("--i-am-authorized"));
}

#[test]
fn what_cannot_be_checked_says_so_with_its_exit_code() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("ws://{}/", listener.local_addr().expect("an address"))
    };
    let rows = [
        (closed, 3, "could not connect"),
        (
            answering("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
            3,
            "-H 'Authorization",
        ),
        (answering("SSH-2.0-OpenSSH_9.6\r\n"), 4, "no HTTP"),
        ("ftp://127.0.0.1/".into(), 2, "ws://"),
    ];
    for (url, expected, words) in rows {
        let output = check(&[url.as_str(), "--patience", "500"]);
        let said = text(&output.stderr);
        assert_eq!(code(&output), expected, "{url}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    let output = check(&["ws://127.0.0.1:1/", "--only", "F99"]);
    assert_eq!(
        (code(&output), text(&output.stderr).contains("F99")),
        (2, true)
    );
    let output = check(&["ws://127.0.0.1:1/", "-H", "Host: a"]);
    assert_eq!(code(&output), 2);
}

#[test]
fn the_time_in_all_is_kept_and_what_was_found_is_shown() {
    let url = format!("ws://{}/", bad::serve(&["slow handshake", "banner"]));
    let output = check(&[&url, "--timeout", "3", "--wait", "600", "--json"]);
    assert_eq!(code(&output), 124, "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert!(found(&report).contains("P2.banner"));
    assert_eq!(
        (&report["ended"], &report["grade"]),
        (&"--timeout".into(), &Value::Null)
    );
}

#[test]
fn secrets_are_in_no_report() {
    let url = format!(
        "ws://me:hush@{}/?token=hush",
        bad::serve(&["foreign origin", "cookie"])
    );
    let fields = ["-H", "Cookie: sid=hush", "-H", "X-Api-Key: hush"];
    for form in [&["--json"][..], &["--verbose"], &["--sarif", "-"]] {
        let output = check(
            &[
                &[url.as_str(), "--level", "handshake", "--wait", "3"],
                &fields[..],
                form,
            ]
            .concat(),
        );
        assert_eq!(
            code(&output).min(1),
            code(&output),
            "{}",
            text(&output.stderr)
        );
        let shown = text(&output.stdout);
        assert!(
            !shown.contains("hush") && !shown.contains("aHVzaA"),
            "{shown}"
        );
        assert!(
            shown.contains("H2.secret-in-url") && shown.contains("P1.cookie"),
            "{shown}"
        );
    }
}

#[test]
fn sarif_names_each_finding_with_its_rule() {
    let url = format!("ws://{}/", bad::serve(&["null origin", "banner"]));
    let file = std::env::temp_dir().join(format!("tidegate-check-{}.sarif", std::process::id()));
    let path = file.to_str().expect("a path in UTF-8");
    let output = check(&[&url, "--level", "handshake", "--wait", "3", "--sarif", path]);
    assert_eq!(code(&output), 1);
    assert!(
        text(&output.stdout).contains("H1.null-origin"),
        "the table is there, too"
    );
    let document: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    let _ = std::fs::remove_file(&file);
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let results = run["results"].as_array().expect("results");
    let ids: Vec<&str> = results
        .iter()
        .filter_map(|result| result["ruleId"].as_str())
        .collect();
    assert_eq!(ids, ["H1.null-origin", "P2.banner"]);
    for result in results {
        let rule = &run["tool"]["driver"]["rules"]
            [result["ruleIndex"].as_u64().expect("an index") as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(
            result["message"]["text"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    assert_eq!(results[0]["level"], "error");
}

#[test]
fn two_endpoints_stand_side_by_side() {
    let bad = format!("ws://{}/", bad::serve(&["foreign origin"]));
    let good = format!("ws://{}/", bad::serve(&[]));
    let words = ["--level", "handshake", "--wait", "3", "--color", "never"];
    let output = check(&[&[bad.as_str(), "--diff", good.as_str()], &words[..]].concat());
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let line = shown
        .lines()
        .find(|line| line.contains("H1.foreign-origin"))
        .expect("a row");
    assert!(
        line.contains("found in 6 cases") && line.trim_end().ends_with("ok"),
        "{shown}"
    );
    let grades: Vec<&str> = shown
        .lines()
        .nth(1)
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(grades, ["grade", "D", "A"]);
    let output = check(
        &[
            &[bad.as_str(), "--diff", good.as_str(), "--json"],
            &words[..],
        ]
        .concat(),
    );
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["diff"][1]["grade"], "A");
}

#[test]
fn what_an_endpoint_wants_is_sent_along() {
    let url = format!("ws://{}/", bad::serve(&[]));
    let own = url.replace("ws://", "http://");
    let words = [
        "--origin",
        own.trim_end_matches('/'),
        "--protocol",
        "chat",
        "--level",
        "handshake",
        "--wait",
        "3",
    ];
    let report = report(&url, &words);
    assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
}
