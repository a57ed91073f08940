//! What `tidegate connect` was asked for, checked and put together; it opens no connection.

use super::args::{BinaryForm, ConnectArgs, HttpVersion, Wait};
use super::input::Source;
use super::output::Form;
use super::redact;
use super::session::Rules;
use crate::error::Failure;
use crate::reach;
use std::io::IsTerminal;
use std::time::Duration;
use tidegate::client::Http;
use tidegate::{Client, CloseCode, Config, Limits, Proxy, Timeouts, Tls};
use tidegate_proto::Deflate;

/// A checked wish.
pub(crate) struct Plan {
    pub(crate) url: String,
    pub(crate) client: Client,
    /// Subprotocols are offered; none may be chosen.
    pub(crate) offers: bool,
    pub(crate) source: Source,
    /// A person types at a terminal; then `source` is of no account.
    pub(crate) prompt: bool,
    pub(crate) binary: bool,
    pub(crate) form: Form,
    pub(crate) rules: Rules,
    pub(crate) timeout: Option<Duration>,
    pub(crate) reconnect: bool,
    pub(crate) inspect: bool,
    pub(crate) verbose: bool,
    pub(crate) colour: bool,
}

/// What the process's streams are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    pub(crate) stdin_is_terminal: bool,
    pub(crate) stdout_is_terminal: bool,
    pub(crate) stderr_is_terminal: bool,
}

impl Streams {
    pub(crate) fn of_this_process() -> Streams {
        Streams {
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }
}

impl Plan {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// What cannot be (usage), or a file that cannot be used (failed).
    pub(crate) fn check(args: &ConnectArgs, streams: Streams) -> Result<Plan, Failure> {
        let given = !args.message.is_empty() || !args.file.is_empty();
        let at_terminal = streams.stdin_is_terminal && streams.stdout_is_terminal;
        let prompt = at_terminal && !given && !args.listen && !args.json;
        Ok(Plan {
            url: url(&args.url)?,
            client: client(args)?,
            offers: !args.protocol.is_empty(),
            source: source(args, given),
            prompt,
            binary: args.binary,
            form: form(args, prompt, streams.stdout_is_terminal),
            rules: rules(args)?,
            timeout: args.timeout.map(Duration::from_secs_f64),
            reconnect: args.reconnect,
            inspect: args.inspect,
            verbose: args.verbose || args.inspect || prompt,
            colour: args.color.is_on(streams.stderr_is_terminal),
        })
    }
}

/// WebSocket's schemes for HTTP's. Which one is meant is not guessed: one of them is secret, the other is not.
fn url(text: &str) -> Result<String, Failure> {
    if !text.contains("://") && !text.is_empty() {
        let with = |scheme| redact::target(&format!("{scheme}://{text}"));
        let (plain, secure) = (with("ws"), with("wss"));
        return Err(Failure::usage(format!(
            "the URL has no scheme: {plain} or, with TLS, {secure}"
        )));
    }
    for (http, ws) in [("https://", "wss://"), ("http://", "ws://")] {
        match text.get(..http.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(http) => {
                return Ok(format!("{ws}{}", &text[http.len()..]));
            }
            _ => {}
        }
    }
    Ok(text.to_owned())
}

fn source(args: &ConnectArgs, given: bool) -> Source {
    if args.listen {
        Source::Nothing
    } else if given {
        Source::Given {
            texts: args.message.clone(),
            files: args.file.clone(),
            binary: args.binary,
        }
    } else {
        Source::Pipe {
            binary: args.binary,
        }
    }
}

fn form(args: &ConnectArgs, prompt: bool, stdout_is_terminal: bool) -> Form {
    if args.json {
        return Form::Json;
    }
    let hex = args.show_binary.unwrap_or(BinaryForm::Hex);
    match (prompt, stdout_is_terminal) {
        (true, _) => Form::Prompt(hex),
        (false, true) => Form::Screen(hex),
        (false, false) => Form::Stream(args.show_binary.unwrap_or(BinaryForm::Raw)),
    }
}

fn rules(args: &ConnectArgs) -> Result<Rules, Failure> {
    let code = CloseCode::new(args.close_code).ok_or_else(|| {
        Failure::usage(format!(
            "--close-code {}: expected 1000 to 1014 without the reserved ones, or 3000 to 4999",
            args.close_code
        ))
    })?;
    if args.close_reason.len() > 123 {
        return Err(Failure::usage("--close-reason is longer than 123 bytes"));
    }
    Ok(Rules {
        count: args.count.or(args.one.then_some(1)),
        quiet: match args.wait {
            Wait::Quiet(seconds) if !args.listen => Some(Duration::from_secs_f64(seconds)),
            _ => None,
        },
        code,
        reason: args.close_reason.clone(),
    })
}

fn client(args: &ConnectArgs) -> Result<Client, Failure> {
    let mut client = Client::new()
        .config(config(args))
        .timeout(Duration::from_secs_f64(args.connect_timeout))
        .subprotocols(args.protocol.clone())
        .http(http(args));
    for field in &args.header {
        let (name, value) = reach::field(field)?;
        client = client.header(name, value);
    }
    if let Some(origin) = &args.origin {
        client = client.origin(origin);
    }
    if let Some(user) = &args.user {
        let user = reach::secret("--user", user)?;
        let (user, password) = user.split_once(':').unwrap_or((&user, ""));
        client = client.basic_auth(user, password);
    }
    if let Some(token) = &args.bearer {
        client = client.bearer_auth(&reach::secret("--bearer", token)?);
    }
    if let Some(tls) = tls(args)? {
        client = client.tls(tls);
    }
    Ok(match proxy(args)? {
        Some(proxy) => client.proxy(proxy),
        None => client,
    })
}

fn config(args: &ConnectArgs) -> Config {
    let pings = args.ping_interval > 0.0;
    Config {
        limits: Limits {
            max_message_size: usize::from(args.max_message) << 20,
            max_fragments: 1 << 20,
            ..Limits::default()
        },
        timeouts: Timeouts {
            ping_interval: pings.then(|| Duration::from_secs_f64(args.ping_interval)),
            ..Timeouts::default()
        },
        deflate: match args.deflate {
            true => Deflate::Shared.into(),
            false => Deflate::Off.into(),
        },
    }
}

fn http(args: &ConnectArgs) -> Http {
    match args.http {
        None => Http::Either,
        Some(HttpVersion::One) => Http::Http1,
        Some(HttpVersion::Two) => Http::Http2,
    }
}

fn tls(args: &ConnectArgs) -> Result<Option<Tls>, Failure> {
    let nothing = args.cacert.is_none() && args.cert.is_none() && !args.insecure;
    if nothing {
        return Ok(None);
    }
    let mut builder = reach::tls(args.cacert.as_deref(), args.insecure)?;
    if let (Some(certificate), Some(key)) = (&args.cert, &args.key) {
        let certificate = reach::read("--cert", certificate)?;
        let key = reach::read("--key", key)?;
        builder = builder
            .client_certificate_pem(&certificate, &key)
            .map_err(|error| Failure::failed(format!("--cert and --key: {error}")))?;
    }
    builder.build().map(Some).map_err(reach::tls_failed)
}

fn proxy(args: &ConnectArgs) -> Result<Option<Proxy>, Failure> {
    if args.no_proxy {
        return Ok(Some(Proxy::none()));
    }
    let Some(url) = &args.proxy else {
        return Ok(None);
    };
    Proxy::url(url)
        .map(Some)
        .map_err(|error| Failure::usage(format!("--proxy: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::error::Exit;
    use clap::Parser;

    fn plan_at(terminal: bool, words: &[&str]) -> Result<Plan, Failure> {
        let words = ["tidegate", "connect"].iter().chain(words);
        let Command::Connect(args) = Cli::try_parse_from(words).expect("flags").command else {
            panic!("not connect");
        };
        let streams = Streams {
            stdin_is_terminal: terminal,
            stdout_is_terminal: terminal,
            stderr_is_terminal: terminal,
        };
        Plan::check(&args, streams)
    }

    #[test]
    fn http_urls_mean_websocket_urls() {
        let rows = [
            ("http://a/b", "ws://a/b"),
            ("HTTPS://a", "wss://a"),
            ("ws://a", "ws://a"),
            ("é://é", "é://é"),
        ];
        for (given, expected) in rows {
            assert_eq!(url(given).as_deref(), Ok(expected));
        }
        let failure = url("localhost:8000/a?token=x").expect_err("no scheme");
        let line = failure.to_string();
        assert!(line.contains("wss://localhost:8000/a?token=…"), "{line}");
    }

    #[test]
    fn a_prompt_is_for_terminals_without_given_messages() {
        assert!(plan_at(true, &["ws://a"]).is_ok_and(|plan| plan.prompt));
        for words in [
            &["ws://a", "-l"][..],
            &["ws://a", "-m", "x"],
            &["ws://a", "--json"],
        ] {
            assert!(
                plan_at(true, words).is_ok_and(|plan| !plan.prompt),
                "{words:?}"
            );
        }
        let piped = plan_at(false, &["ws://a"]).map(|plan| (plan.prompt, plan.form));
        assert_eq!(piped, Ok((false, Form::Stream(BinaryForm::Raw))));
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        for words in [
            &["ws://a", "--close-code", "1006"][..],
            &["ws://a", "-H", "no colon"],
            &["ws://a", "-x", "ftp://proxy"],
        ] {
            let failure = plan_at(false, words).err().expect("refused");
            assert_eq!(failure.exit, Exit::Usage, "{failure}");
        }
        let failure = plan_at(false, &["ws://a", "--bearer", "@/no/such/file"]).err();
        assert_eq!(failure.map(|failure| failure.exit), Some(Exit::Failed));
    }

    #[test]
    fn enough_is_a_number_or_silence() {
        let rules = |words: &[&str]| plan_at(false, words).map(|plan| plan.rules);
        let quiet = Some(Duration::from_secs(1));
        assert!(rules(&["ws://a"]).is_ok_and(|r| r.quiet == quiet && r.count.is_none()));
        assert!(rules(&["ws://a", "-1"]).is_ok_and(|r| r.count == Some(1)));
        assert!(rules(&["ws://a", "-l"]).is_ok_and(|r| r.quiet.is_none()));
        assert!(rules(&["ws://a", "-w", "never"]).is_ok_and(|r| r.quiet.is_none()));
    }
}
