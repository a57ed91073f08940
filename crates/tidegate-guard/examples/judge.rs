//! Judges messages, one a line in hexadecimal, and answers each with the rules that found something, or `pass`. This is what
//! `cargo xtask detection` measures: the default rules, nothing else.
//!
//! `printf '1 or 1=1' | xxd -p | cargo run -p tidegate-guard --example judge`

use std::io::{BufRead, Write};
use tidegate_guard::{Direction, Inspector, Kind, Rules, Verdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut inspector = Inspector::new(&Rules::default())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let message = octets(line?.trim()).ok_or("a line is not hexadecimal")?;
        let verdict = inspector.inspect(Direction::ToServer, Kind::Text, &message);
        match verdict {
            Verdict::Monitor(findings) => {
                let rules: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
                writeln!(out, "{}", rules.join(" "))?;
            }
            _ => writeln!(out, "pass")?,
        }
    }
    Ok(out.flush()?)
}

fn octets(line: &str) -> Option<Vec<u8>> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    line.as_bytes().chunks(2).map(octet).collect()
}
