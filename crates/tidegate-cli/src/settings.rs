//! What `serve` was asked for, checked: settings that exist can be served. It opens no socket.

use crate::cli::{LogFormat, ServeArgs};
use crate::error::Failure;
use crate::hosts::Hosts;
use crate::{logs, tls};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::OriginPolicy;
use tidegate_proto::handshake::Origin;

/// Checked settings of `tidegate serve`.
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// Worker threads.
    pub(crate) workers: usize,
    /// https and wss, or http and ws.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whose pages may connect.
    pub(crate) origins: OriginPolicy,
    /// What we are called.
    pub(crate) hosts: Hosts,
    /// How long a drain may take.
    pub(crate) drain: Duration,
    /// How lines on stderr look.
    pub(crate) log_format: LogFormat,
}

impl Settings {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// What cannot be (usage), or a certificate that cannot be used (failed).
    pub(crate) fn check(args: &ServeArgs) -> Result<Settings, Failure> {
        check_exposure(args)?;
        Ok(Settings {
            listen: args.listen,
            workers: args.workers.map_or_else(cores, usize::from),
            origins: origins(args)?,
            hosts: Hosts::new(args.listen.ip(), &args.host),
            drain: Duration::from_secs(args.drain.into()),
            log_format: logs::format(args.log_format),
            tls: tls::settings(args)?,
        })
    }
}

/// Loopback implies plain text and development mode; any other address has to ask for each aloud.
///
/// There are no tokens yet, so development mode is all there is: without it the hub would let nobody in, and
/// a server that silently serves an echo only helps nobody.
fn check_exposure(args: &ServeArgs) -> Result<(), Failure> {
    let address = args.listen;
    if address.ip().is_loopback() {
        return Ok(());
    }
    let encrypted = args.dev_cert || args.tls_cert.is_some() || args.tls_key.is_some();
    if !encrypted && !args.allow_plain {
        return Err(Failure::usage(format!(
            "{address} can be reached by others, and without TLS they can read and change everything; \
             give --tls-cert and --tls-key, or say --allow-plain"
        )));
    }
    if !args.dev {
        return Err(Failure::usage(format!(
            "{address} can be reached by others, and this version has only development mode (anonymous \
             clients, open channels); say --dev to serve it all the same, or listen on 127.0.0.1"
        )));
    }
    Ok(())
}

fn origins(args: &ServeArgs) -> Result<OriginPolicy, Failure> {
    if args.any_origin {
        return Ok(OriginPolicy::Any);
    }
    if args.origin.is_empty() {
        return Ok(OriginPolicy::SameOrigin);
    }
    let parse = |text: &String| {
        Origin::parse(text).map_err(|_| {
            Failure::usage(format!(
                "--origin {text}: expected an origin such as https://app.example:8443"
            ))
        })
    };
    let listed: Result<Vec<Origin>, Failure> = args.origin.iter().map(parse).collect();
    Ok(OriginPolicy::Listed(listed?))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::error::Exit;
    use clap::Parser;

    fn check(flags: &str) -> Result<Settings, Failure> {
        let words = ["tidegate", "serve"]
            .into_iter()
            .chain(flags.split_whitespace());
        let Command::Serve(args) = Cli::try_parse_from(words).expect("flags").command;
        Settings::check(&args)
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
    fn origins_are_read_or_refused() {
        assert!(matches!(
            check("").map(|s| s.origins),
            Ok(OriginPolicy::SameOrigin)
        ));
        assert!(matches!(
            check("--any-origin").map(|s| s.origins),
            Ok(OriginPolicy::Any)
        ));
        let two = "--origin https://a.example --origin http://b.example:81";
        assert!(
            matches!(check(two).map(|s| s.origins), Ok(OriginPolicy::Listed(l)) if l.len() == 2)
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
}
