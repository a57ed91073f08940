//! One self-contained page for a run: the figures, and latencies by percentile as a drawing. It loads nothing and runs no
//! script.

use super::report::{grouped, span};
use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// Latencies, in nanoseconds, under a name.
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) latencies: &'a Histogram<u64>,
}

/// A table: its head, if it has one, and its rows.
pub(crate) struct Table<'a> {
    pub(crate) head: &'a [&'a str],
    pub(crate) rows: Vec<Vec<String>>,
}

/// The page.
pub(crate) fn page(title: &str, table: &Table<'_>, series: &[Series<'_>], json: &str) -> String {
    let mut page = String::new();
    let title = escape(title);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n"
    );
    let drawn: Vec<&Series<'_>> = series.iter().filter(|s| !s.latencies.is_empty()).collect();
    if !drawn.is_empty() {
        page += &figure(&drawn);
    }
    page += &rows(table);
    let _ = write!(
        page,
        "<details><summary>All of it as JSON</summary><pre>{}</pre></details>\n\
         <footer>tidegate bench {}</footer>\n</main>\n</html>\n",
        escape(json),
        env!("CARGO_PKG_VERSION")
    );
    page
}

fn rows(table: &Table<'_>) -> String {
    let mut text = String::from("<div class=\"wide\"><table>\n");
    if !table.head.is_empty() {
        let cells: String = table
            .head
            .iter()
            .map(|cell| format!("<th>{}</th>", escape(cell)))
            .collect();
        let _ = writeln!(text, "<thead><tr>{cells}</tr></thead>");
    }
    for row in &table.rows {
        let mut cells = row.iter();
        let name = cells.next().map_or("", String::as_str);
        let rest: String = cells
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect();
        let _ = writeln!(text, "<tr><th>{}</th>{rest}</tr>", escape(name));
    }
    text + "</table></div>\n"
}

/// The drawing: percentiles to the right, the rarer the wider, latency upwards; both in powers of ten.
fn figure(series: &[&Series<'_>]) -> String {
    let most = series.iter().map(|s| s.latencies.len()).max().unwrap_or(1);
    let nines = (most as f64).log10().clamp(1.0, 6.0);
    let lowest = series
        .iter()
        .map(|s| s.latencies.value_at_quantile(0.0))
        .min();
    let highest = series.iter().map(|s| s.latencies.max()).max();
    let axis = Axis::around(lowest.unwrap_or(1), highest.unwrap_or(1));
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Latency by percentile\">\n"
    );
    for (value, label) in axis.ticks() {
        let y = axis.y(value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{label}</text>",
            LEFT - 10.0,
            y + 4.0
        );
    }
    for (percent, label) in PERCENTILES {
        let place = -(1.0 - percent / 100.0_f64).log10();
        if place <= nines + 1e-9 {
            let x = LEFT + (RIGHT - LEFT) * place / nines;
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
                 <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{}\">{label}</text>",
                BOTTOM + 22.0
            );
        }
    }
    for (at, one) in series.iter().enumerate() {
        let path = line(one.latencies, nines, &axis);
        if series.len() == 1 {
            let _ = writeln!(
                svg,
                "<path class=\"area\" d=\"{path} L{RIGHT} {BOTTOM} L{LEFT} {BOTTOM} Z\"/>"
            );
        }
        let _ = writeln!(svg, "<path class=\"line c{}\" d=\"{path}\"/>", at % COLOURS);
    }
    svg += "</svg>\n<figcaption>Latency by percentile";
    for (at, one) in series.iter().enumerate() {
        let p50 = span(one.latencies.value_at_quantile(0.5) as f64 / 1e3);
        let p99 = span(one.latencies.value_at_quantile(0.99) as f64 / 1e3);
        let _ = write!(
            svg,
            "<span class=\"key\"><i class=\"c{}\"></i>{}: half within {p50}, 99 % within {p99}, of {}</span>",
            at % COLOURS,
            escape(one.name),
            grouped(one.latencies.len() as f64)
        );
    }
    svg + "</figcaption></figure>\n"
}

/// The curve, in so many steps that nobody sees them.
fn line(latencies: &Histogram<u64>, nines: f64, axis: &Axis) -> String {
    let own = (latencies.len() as f64).log10().min(nines);
    let mut path = String::new();
    for step in 0..=STEPS {
        let place = nines * step as f64 / STEPS as f64;
        let x = LEFT + (RIGHT - LEFT) * place / nines;
        let quantile = 1.0 - 10f64.powf(-place.min(own));
        let y = axis.y(latencies.value_at_quantile(quantile) as f64);
        let _ = write!(path, "{}{x:.1} {y:.1}", if step == 0 { "M" } else { " L" });
    }
    path
}

/// Latency upwards, in powers of ten.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Holds both, with 1, 2 or 5 of something at its ends.
    fn around(lowest: u64, highest: u64) -> Axis {
        let low = steps()
            .take_while(|step| *step <= lowest.max(1) as f64)
            .last();
        let high = steps().find(|step| *step >= highest as f64);
        let (low, high) = (low.unwrap_or(1.0), high.unwrap_or(1e12));
        Axis {
            low,
            high: high.max(low * 2.0),
        }
    }

    fn y(&self, nanos: f64) -> f64 {
        let place = (nanos.max(1.0) / self.low).ln() / (self.high / self.low).ln();
        BOTTOM - (BOTTOM - TOP) * place.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let all: Vec<f64> = steps()
            .filter(|s| (self.low..=self.high).contains(s))
            .collect();
        let tens = all.len() > 10;
        let shown = all
            .into_iter()
            .filter(|s| !tens || s.log10().fract().abs() < 1e-6);
        shown.map(|nanos| (nanos, label(nanos))).collect()
    }
}

/// 1, 2, 5, 10, 20, 50, … nanoseconds, up to a thousand seconds.
fn steps() -> impl Iterator<Item = f64> {
    (0..13).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)))
}

fn label(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n if n < 1e9 => format!("{:.0} ms", n / 1e6),
        n => format!("{:.0} s", n / 1e9),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 880.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 380.0;
const STEPS: usize = 240;
const COLOURS: usize = 5;
const PERCENTILES: [(f64, &str); 8] = [
    (0.0, "0 %"),
    (50.0, "50 %"),
    (90.0, "90 %"),
    (99.0, "99 %"),
    (99.9, "99.9 %"),
    (99.99, "99.99 %"),
    (99.999, "99.999 %"),
    (99.9999, "99.9999 %"),
];

const STYLE: &str = "
:root{color-scheme:light dark;--back:#fbfbf9;--ink:#1d2733;--soft:#6b7785;--grid:#e2e5e8;
--c0:#0b7285;--c1:#c2410c;--c2:#6741d9;--c3:#2f7d32;--c4:#a61e4d}
@media(prefers-color-scheme:dark){:root{--back:#12171d;--ink:#e6ebf0;--soft:#93a0ad;--grid:#2a333c;
--c0:#3bc9db;--c1:#ff922b;--c2:#b197fc;--c3:#8ce99a;--c4:#faa2c1}}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 20px}
h1{font-size:22px;font-weight:600;margin:0 0 20px;overflow-wrap:anywhere}
figure{margin:0 0 28px}svg{display:block;width:100%;height:auto}
.grid{stroke:var(--grid);stroke-width:1}.tick{fill:var(--soft);font-size:13px}
.line{fill:none;stroke-width:2.5;stroke-linejoin:round}.area{fill:var(--c0);opacity:.12}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}
figcaption{color:var(--soft);margin-top:8px}.key{display:block;color:var(--ink)}
.key i{display:inline-block;width:22px;height:3px;margin-right:8px;vertical-align:middle}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}
i.c4{background:var(--c4)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:7px 12px 7px 0;border-bottom:1px solid var(--grid);vertical-align:top}
tbody th,tr>th:first-child{color:var(--soft);font-weight:500;white-space:nowrap}
details{margin-top:24px}summary{cursor:pointer;color:var(--soft)}
pre{overflow-x:auto;font-size:13px}footer{margin-top:28px;color:var(--soft);font-size:13px}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_all_and_escapes_what_came_from_outside() {
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        for nanos in 1..=10_000u64 {
            latencies.record(nanos * 100).unwrap();
        }
        let series = [Series {
            name: "<b>",
            latencies: &latencies,
        }];
        let table = Table {
            head: &[],
            rows: vec![vec!["url".into(), "ws://a/?x=\"<script>".into()]],
        };
        let page = page("a & b", &table, &series, "{\"x\": \"<y>\"}");
        assert!(page.starts_with("<!doctype html>") && page.contains("<svg "));
        assert!(page.contains("a &amp; b") && page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("NaN"));
        assert!(
            page.contains("99.99 %") && !page.contains("99.999 %"),
            "four nines of 10,000"
        );
        assert!(!page.contains("http"), "nothing is loaded from anywhere");
    }

    #[test]
    fn the_axis_holds_what_it_shows() {
        let axis = Axis::around(130, 7_000);
        assert_eq!((axis.low, axis.high), (100.0, 10_000.0));
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(
            labels,
            [
                "100 ns", "200 ns", "500 ns", "1 µs", "2 µs", "5 µs", "10 µs"
            ]
        );
        assert!(axis.y(100.0) > axis.y(200.0));
        let flat = Axis::around(50, 50);
        assert!(flat.high > flat.low);
    }
}
