//! What every client here is told of the way to a server: header fields, secrets in files, whom to trust. It opens no
//! connection.

use crate::error::Failure;
use std::path::Path;
use tidegate::dial::TlsBuilder;
use tidegate::{Tls, TlsError};

/// A field as `--header` takes it; `@FILE` as its value is read.
///
/// # Errors
/// There is no colon (usage), or no such file (failed).
pub(crate) fn field(text: &str) -> Result<(&str, String), Failure> {
    let (name, value) = text.split_once(':').ok_or_else(|| {
        Failure::usage("--header wants \"Name: value\"; there is no colon in what was given")
    })?;
    let value = secret(&format!("--header {}", name.trim()), value.trim())?;
    Ok((name.trim(), value))
}

/// A value, or the content of the file that `@` names, without the line end at its end.
///
/// # Errors
/// The file cannot be read, or is no text.
pub(crate) fn secret(flag: &str, value: &str) -> Result<String, Failure> {
    let Some(file) = value.strip_prefix('@') else {
        return Ok(value.to_owned());
    };
    let content = String::from_utf8(read(flag, Path::new(file))?)
        .map_err(|_| Failure::failed(format!("{flag}: {file} is no UTF-8 text")))?;
    Ok(content.trim_end_matches(['\r', '\n']).to_owned())
}

/// A file that a flag names.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(flag: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        let file = file.display();
        Failure::failed(format!("{flag}: {file} cannot be read: {error}"))
    })
}

/// Whom to trust: the system's roots, those of `--cacert` instead, or with `--insecure` anybody.
///
/// # Errors
/// The file cannot be read, or holds no certificates.
pub(crate) fn tls(cacert: Option<&Path>, insecure: bool) -> Result<TlsBuilder, Failure> {
    let mut builder = Tls::builder();
    if let Some(file) = cacert {
        let pem = read("--cacert", file)?;
        builder = builder
            .root_pem(&pem)
            .map_err(|error| Failure::failed(format!("--cacert: {error}")))?;
    }
    Ok(match insecure {
        true => builder.danger_accept_invalid_certificates(),
        false => builder,
    })
}

/// TLS that cannot be set up.
pub(crate) fn tls_failed(error: TlsError) -> Failure {
    Failure::failed(format!("TLS: {error}"))
}
