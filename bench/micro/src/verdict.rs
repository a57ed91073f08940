//! What must be reached, judged on medians of paired ratios; a row whose contender this CPU lacks is not judged.

use serde_json::{Value, json};
use std::fmt;

/// One row: ours in `group` must be so much faster than the contender.
struct Row {
    group: &'static str,
    contender: &'static str,
    /// How many times as long as ours the contender must take, at least.
    times: f64,
}

pub(crate) struct Verdict {
    row: &'static Row,
    reached: f64,
}

impl Verdict {
    fn is_met(&self) -> bool {
        self.reached >= self.row.times
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "group": self.row.group, "beside": self.row.contender, "times": self.row.times,
            "reached": self.reached, "met": self.is_met(),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_met() { "met   " } else { "MISSED" };
        let Row {
            group,
            contender,
            times,
        } = self.row;
        write!(
            f,
            "{word} {group}: x{:.2} of {contender}, at least x{times}",
            self.reached
        )
    }
}

/// The verdicts on what was measured.
pub(crate) fn judge(groups: &[Value]) -> Vec<Verdict> {
    let verdict = |row: &'static Row| {
        let group = groups.iter().find(|group| group["group"] == row.group)?;
        let contenders = group["contenders"].as_array()?;
        let contender = contenders.iter().find(|c| c["name"] == row.contender)?;
        let reached = contender["times_ours_paired_median"].as_f64()?;
        Some(Verdict { row, reached })
    };
    ROWS.iter().filter_map(verdict).collect()
}

const fn row(group: &'static str, contender: &'static str, times: f64) -> Row {
    Row {
        group,
        contender,
        times,
    }
}

const ROWS: [Row; 16] = [
    row("mask/aligned/1024", "bare loop, AVX2", 0.95),
    row("mask/aligned/16384", "bare loop, AVX2", 0.95),
    row("mask/aligned/65536", "bare loop, AVX2", 0.95),
    row("mask/payload/1024", "bare loop, AVX2", 0.95),
    row("mask/payload/16384", "bare loop, AVX2", 0.95),
    row("mask/payload/65536", "bare loop, AVX2", 0.95),
    row("frame/ascii/1024", "bare loop + simdutf8", 0.8),
    row("frame/ascii/16384", "bare loop + simdutf8", 0.9),
    row("frame/ascii/65536", "bare loop + simdutf8", 0.9),
    row("frame/three-octet/16384", "bare loop + simdutf8", 0.9),
    row("stream/ascii/125", "tokio-websockets", 2.0),
    row("stream/ascii/125", "fastwebsockets", 2.0),
    row("stream/ascii/125", "tungstenite", 4.0),
    row("stream/binary/125", "tokio-websockets", 2.0),
    row("stream/binary/125", "fastwebsockets", 2.0),
    row("stream/binary/125", "tungstenite", 4.0),
];
