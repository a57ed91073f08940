//! `TIDEGATE_TABLE__KEY` overrides a key of the file: secrets need not stand in it. It never reads the
//! variables of the flags, which have a single underscore.

use super::file::File;
use crate::error::Failure;
use tidegate_guard::written::explain;
use toml::{Table, Value};

/// Puts the overrides into the tables of `text`, which was parsed to `file` before.
///
/// # Errors
/// A variable that names no key, or whose value does not fit it. The value is not shown: it may be secret.
pub(super) fn apply(
    file: File,
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<File, Failure> {
    let mut overrides: Vec<(String, String)> = environment
        .filter(|(name, _)| name.starts_with(PREFIX) && name.contains(BETWEEN))
        .collect();
    if overrides.is_empty() {
        return Ok(file);
    }
    overrides.sort();
    let mut table: Table = toml::from_str(text)
        .map_err(|error| Failure::usage(format!("configuration: {}", explain(&error))))?;
    let mut file = file;
    for (name, value) in &overrides {
        (table, file) = apply_one(&table, name, value)?;
    }
    Ok(file)
}

/// A value is TOML if that fits the key (`30`, `true`, `["a", "b"]`), else text as it stands.
fn apply_one(table: &Table, name: &str, value: &str) -> Result<(Table, File), Failure> {
    let path: Vec<String> = name[PREFIX.len()..]
        .split(BETWEEN)
        .map(str::to_ascii_lowercase)
        .collect();
    let readings = [as_toml(value), Some(Value::String(value.to_owned()))];
    let mut complaint = String::new();
    for reading in readings.into_iter().flatten() {
        let mut changed = table.clone();
        if !put(&mut changed, &path, reading) {
            break;
        }
        match changed.clone().try_into::<File>() {
            Ok(file) => return Ok((changed, file)),
            Err(error) => complaint = explain(&error),
        }
    }
    // A message about the value repeats it; one about an unknown key does not.
    let why = match complaint.starts_with("unknown key") {
        true => complaint,
        false => format!("the value does not fit {}", path.join(".")),
    };
    Err(Failure::usage(format!(
        "environment variable {name}: {why}"
    )))
}

fn as_toml(value: &str) -> Option<Value> {
    let table: Table = toml::from_str(&format!("v = {value}")).ok()?;
    (table.len() == 1).then(|| table.get("v").cloned())?
}

/// False when the path leads through something that is no table.
fn put(table: &mut Table, path: &[String], value: Value) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut table = table;
    for name in parents {
        let inner = table
            .entry(name.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        match inner {
            Value::Table(inner) => table = inner,
            _ => return false,
        }
    }
    table.insert(last.clone(), value);
    true
}

const PREFIX: &str = "TIDEGATE_";
const BETWEEN: &str = "__";

#[cfg(test)]
mod tests {
    use super::*;

    fn overridden(text: &str, variables: &[(&str, &str)]) -> Result<File, String> {
        let file = toml::from_str(text).expect("a file");
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        apply(file, text, variables).map_err(|failure| failure.line)
    }

    #[test]
    fn variables_override_keys_of_any_type() {
        let text = "[limits]\nchannels_per_client = 1\n[namespaces.chat]\nhistory_size = 3\n";
        let file = overridden(
            text,
            &[
                ("TIDEGATE_LIMITS__CHANNELS_PER_CLIENT", "7"),
                ("TIDEGATE_CLIENTS__PING", "5s"),
                ("TIDEGATE_TOKENS__HMAC_SECRET", "12345"),
                ("TIDEGATE_API__KEYS", "[\"a\", \"b\"]"),
                ("TIDEGATE_NAMESPACES__CHAT__PRESENCE", "true"),
                ("TIDEGATE_NAMESPACES__NEWS__HISTORY_SIZE", "9"),
                ("TIDEGATE_LISTEN", "a flag's own variable"),
                ("PATH", "/bin"),
            ],
        )
        .expect("all fit");
        assert_eq!(file.limits.channels_per_client, 7);
        assert_eq!(file.clients.ping.0.as_secs(), 5);
        assert!(
            file.tokens
                .hmac_secret
                .is_some_and(|secret| secret.is("12345"))
        );
        assert_eq!(file.api.keys.len(), 2);
        assert!(file.namespaces["chat"].presence);
        assert_eq!(file.namespaces["chat"].history_size, 3);
        assert_eq!(file.namespaces["news"].history_size, 9);
    }

    #[test]
    fn a_bad_variable_is_named_and_its_value_is_not() {
        let said =
            overridden("", &[("TIDEGATE_CLIENTS__PING", "hunter2")]).expect_err("no duration");
        assert!(
            said.contains("TIDEGATE_CLIENTS__PING") && !said.contains("hunter2"),
            "{said}"
        );
        let said = overridden("", &[("TIDEGATE_CLIENTS__PINGG", "5s")]).expect_err("no such key");
        assert!(
            said.ends_with("unknown key pingg; did you mean ping?"),
            "{said}"
        );
        let said = overridden("", &[("TIDEGATE_CLIENT__PING", "5s")]).expect_err("no such table");
        assert!(
            said.ends_with("unknown key client; did you mean clients?"),
            "{said}"
        );
    }
}
