//! `cargo xtask bench plot`: redraws the tables of `docs/guide/performance.md` and the picture in the README from the
//! newest kept runs. What stands between two markers is the run's; the rest of the pages is people's.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::on_tokio;
use super::runs;
use super::versus::JOBS;
use crate::sh::Result;
use crate::tree;

/// `cargo xtask bench plot`
pub(crate) fn job() -> Result<()> {
    let page = tree::root().join("docs/guide/performance.md");
    let mut text = fs::read_to_string(&page)?;
    for job in JOBS {
        match runs::newest(job)? {
            Some(run) => text = between(&text, job, &versus(&run))?,
            None => println!("no run of `bench {job}` is kept"),
        }
    }
    match runs::newest("guard")? {
        Some(run) => text = between(&text, "guard", &guard(&run))?,
        None => println!("no run of `bench guard` is kept"),
    }
    match runs::newest("scale")? {
        Some(run) => text = between(&text, "scale", &scale(&run))?,
        None => println!("no run of `bench scale` is kept"),
    }
    // The first one was kept before runs said when and where they were taken.
    match runs::newest("async")?.filter(|run| run["date"].is_string()) {
        Some(run) => text = between(&text, "async", &asynchronous(&run))?,
        None => println!("no run of `bench async` is kept"),
    }
    fs::write(&page, text)?;
    println!("drawn: {}", page.display());
    picture()
}

/// The picture, and the line in the README that shows it.
fn picture() -> Result<()> {
    let (mut panels, mut of) = (Vec::new(), Vec::new());
    for (job, row, title) in PANELS {
        let Some(run) = runs::newest(job)? else {
            continue;
        };
        if let Some(panel) = Panel::read(&run["rows"][row], title) {
            panels.push(panel);
            of.push(origin(&run));
        }
    }
    if panels.is_empty() {
        println!("nothing to draw yet");
        return Ok(());
    }
    of.dedup();
    let path = tree::root().join(PICTURE);
    fs::write(&path, svg(&panels))?;
    println!("drawn: {}", path.display());
    let readme = tree::root().join("README.md");
    let line = format!(
        "![CPU time of the server for one message, beside its peers]({PICTURE})\n\nServer CPU for one message on one core; \
         {}. How, and the rest: [docs/guide/performance.md](docs/guide/performance.md).\n",
        of.join("; ")
    );
    let text = between(&fs::read_to_string(&readme)?, "plot", &line)?;
    Ok(fs::write(readme, text)?)
}

/// Puts `new` between the two markers of that name.
fn between(text: &str, name: &str, new: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->\n"),
        format!("<!-- /bench:{name} -->"),
    );
    let (head, rest) = text
        .split_once(&begin)
        .ok_or_else(|| format!("no marker {}", begin.trim()))?;
    let (_, tail) = rest
        .split_once(&end)
        .ok_or_else(|| format!("no marker {end}"))?;
    Ok(format!("{head}{begin}\n{}\n\n{end}{tail}", new.trim()))
}

/// When and where.
fn origin(run: &Value) -> String {
    let word = |name: &str| run[name].as_str().unwrap_or("?").to_owned();
    format!(
        "{}, {}, {} cores, Linux {}, commit {}",
        word("date"),
        word("processor"),
        run["cores"],
        word("kernel"),
        word("commit")
    )
}

/// A table for each row of what stands in the middle.
fn guard(run: &Value) -> String {
    let mut text = format!("{}.\n", origin(run));
    let rows = run["rows"].as_object();
    for row in rows.into_iter().flat_map(|rows| rows.values()) {
        let what = row["what"].as_str().unwrap_or_default();
        let _ = write!(
            text,
            "\n**{what}** ({} rounds)\n\n| in the middle | ns each | it / nginx | 95 % below | it / haproxy | 95 % below | rounds |\n\
             |---|--:|--:|--:|--:|--:|--:|\n",
            row["rounds"]
        );
        let servers = row["servers"].as_object();
        let mut servers: Vec<(&String, &Value)> = servers.into_iter().flatten().collect();
        servers.sort_by(|a, b| cost_of(a.1).total_cmp(&cost_of(b.1)));
        for (name, server) in servers {
            let over = |whom: &str, which: &str| number(server[whom][which].as_f64(), 2);
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                number(server["median"].as_f64(), 0),
                over("over_nginx", "median"),
                over("over_nginx", "upper_95"),
                over("over_haproxy", "median"),
                over("over_haproxy", "upper_95"),
                server["runs"].as_array().map_or(0, Vec::len),
            );
        }
        for bar in row["must_reach"].as_array().into_iter().flatten() {
            let word = match bar["met"] == true {
                true => "Met",
                false => "Missed",
            };
            let _ = writeln!(
                text,
                "\n{word}: {} over nginx was to be at most {}, and is {}.",
                bar["ours"].as_str().unwrap_or_default(),
                bar["at_most"],
                number(bar["upper_95"].as_f64(), 3),
            );
        }
    }
    text
}

/// A table for each row of a comparison.
fn versus(run: &Value) -> String {
    let mut text = format!("{}.\n", origin(run));
    for row in run["rows"]
        .as_object()
        .into_iter()
        .flat_map(|rows| rows.values())
    {
        let memory = row["load"]
            .as_str()
            .is_some_and(|load| load.starts_with("idle"));
        let cost = if memory { "bytes each" } else { "ns each" };
        let what = row["what"].as_str().unwrap_or_default();
        let _ = write!(
            text,
            "\n**{what}** (`tidegate bench {}`; {} rounds)\n\n",
            row["load"].as_str().unwrap_or_default(),
            row["rounds"],
        );
        let _ = writeln!(
            text,
            "| server | {cost} | ours / it | 95 % below | p50 us | p99 us | bytes back | rounds |"
        );
        let _ = writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|");
        let mut servers: Vec<(&String, &Value)> =
            row["servers"].as_object().into_iter().flatten().collect();
        servers.sort_by(|a, b| cost_of(a.1).total_cmp(&cost_of(b.1)));
        for (name, server) in servers {
            let latency = |quantile: &str| {
                number(
                    middle(server, |run| run["latency_us"][quantile].as_f64()),
                    0,
                )
            };
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} | {} |",
                number(server["median"].as_f64(), 0),
                number(server["ours_over_it"].as_f64(), 2),
                number(server["ours_over_it_upper_95"].as_f64(), 2),
                latency("p50"),
                latency("p99"),
                number(server["bytes_back"].as_f64(), 0),
                server["runs"].as_array().map_or(0, Vec::len),
            );
        }
        let missed = row["must_reach"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|bar| bar["met"] == false);
        for bar in missed {
            let _ = writeln!(
                text,
                "\nMissed: {} over {} was to be at most {}, and is {}.",
                bar["ours"].as_str().unwrap_or_default(),
                bar["beside"].as_str().unwrap_or_default(),
                bar["at_most"],
                number(bar["upper_95"].as_f64(), 3),
            );
        }
    }
    text
}

/// A table for each series.
fn scale(run: &Value) -> String {
    let mut text = format!("{}; {} rounds.\n", origin(run), run["rounds"]);
    for (name, points) in run["series"].as_object().into_iter().flatten() {
        let unit = if name.starts_with("memory") {
            "bytes each"
        } else {
            "CPU ns each"
        };
        let load = points[0]["load"].as_str().unwrap_or_default();
        let _ = write!(
            text,
            "\n**{name}** (first row: `tidegate bench {load}`)\n\n| {name} | {unit} | per second | p50 us | p99 us |\n|--:|--:|--:|--:|--:|\n"
        );
        for point in points.as_array().into_iter().flatten() {
            let field = |name: &str| number(point[name].as_f64(), 0);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                point["x"],
                field("cost"),
                field("per_second"),
                field("p50_us"),
                field("p99_us")
            );
        }
    }
    text
}

/// The tables of the async face, and how quiet the machine was.
fn asynchronous(run: &Value) -> String {
    let load = number(run["load_average"].as_f64(), 1);
    let tables = on_tokio::tables(run);
    format!("{}; load average {load}.\n\n{tables}", origin(run))
}

fn cost_of(server: &Value) -> f64 {
    server["median"].as_f64().unwrap_or(f64::INFINITY)
}

fn middle(server: &Value, of: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
    let runs = server["runs"].as_array()?;
    super::stats::median(&runs.iter().filter_map(of).collect::<Vec<f64>>())
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A row of a comparison as bars.
struct Panel {
    title: &'static str,
    /// Name and cost, the cheapest first.
    bars: Vec<(String, f64)>,
}

impl Panel {
    fn read(row: &Value, title: &'static str) -> Option<Panel> {
        let servers = row["servers"].as_object()?;
        let known = servers
            .iter()
            .filter_map(|(name, server)| Some((name.clone(), server["median"].as_f64()?)));
        let mut bars: Vec<(String, f64)> = known.collect();
        bars.sort_by(|a, b| a.1.total_cmp(&b.1));
        (!bars.is_empty()).then_some(Panel { title, bars })
    }
}

/// Panels two by two; each has its own scale, from nothing to its dearest bar.
fn svg(panels: &[Panel]) -> String {
    let most = panels
        .iter()
        .map(|panel| panel.bars.len())
        .max()
        .unwrap_or(0);
    let height = TITLE + most as u32 * BAR + GAP;
    let rows = panels.len().div_ceil(2) as u32;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#24292f}}.t{{font-weight:600}}.b{{fill:#9aa7b4}}.o{{fill:#0b7285}}\
         @media(prefers-color-scheme:dark){{text{{fill:#d0d7de}}.b{{fill:#57606a}}.o{{fill:#3bc9db}}}}</style>\n",
        2 * PANEL,
        rows * height
    );
    for (at, panel) in panels.iter().enumerate() {
        let (left, top) = (at as u32 % 2 * PANEL, at as u32 / 2 * height);
        let _ = writeln!(
            text,
            "<text class=\"t\" x=\"{left}\" y=\"{}\">{}</text>",
            top + 14,
            panel.title
        );
        let dearest = panel.bars.last().map_or(1.0, |bar| bar.1);
        for (nth, (name, cost)) in panel.bars.iter().enumerate() {
            let y = top + TITLE + nth as u32 * BAR;
            let ours = ["tidegate", "tidegate-protobuf", "engine"].contains(&name.as_str());
            let class = if ours { "o" } else { "b" };
            let shown = if name == "engine" { "tidegate" } else { name };
            let width = (cost / dearest * f64::from(PANEL - NAMES - NUMBERS)).max(1.0);
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{shown}</text><rect class=\"{class}\" x=\"{}\" y=\"{y}\" \
                 width=\"{width:.1}\" height=\"{}\"/><text x=\"{:.1}\" y=\"{}\">{} ns</text>",
                left + NAMES - 6,
                y + 12,
                left + NAMES,
                BAR - 4,
                f64::from(left + NAMES) + width + 5.0,
                y + 12,
                if *cost < 10.0 {
                    format!("{cost:.1}")
                } else {
                    format!("{cost:.0}")
                },
            );
        }
    }
    text + "</svg>\n"
}

/// What the picture shows: job, row, title.
const PANELS: [(&str, &str, &str); 4] = [
    ("echo", "echo/1/125", "Echo, 125 B, one in flight"),
    ("echo", "echo/64/125", "Echo, 125 B, 64 in flight"),
    (
        "fanout",
        "fanout/room/16/64",
        "Broadcast to 1,000, 64 B, 16 in flight",
    ),
    (
        "fanout",
        "fanout/hub/1000/128",
        "A channel with 1,000 subscribers, 128 B",
    ),
];
const PICTURE: &str = "docs/performance.svg";
const PANEL: u32 = 420;
const NAMES: u32 = 125;
const NUMBERS: u32 = 75;
const TITLE: u32 = 24;
const BAR: u32 = 18;
const GAP: u32 = 18;

#[cfg(test)]
mod tests {
    use super::{Panel, between, scale, svg, versus};
    use serde_json::json;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n";
        let new = between(page, "x", "new").expect("the markers are there");
        assert_eq!(new, "a\n<!-- bench:x -->\n\nnew\n\n<!-- /bench:x -->\nb\n");
        assert_eq!(between(&new, "x", "new").expect("still there"), new);
        assert!(between(page, "y", "new").is_err());
    }

    #[test]
    fn a_comparison_becomes_a_table_and_bars() {
        let row = json!({
            "what": "echo", "load": "echo -c 1", "rounds": 11,
            "servers": {
                "bun": { "median": 200.0, "ours_over_it": 0.5, "ours_over_it_upper_95": 0.6, "runs": [{"latency_us": {"p50": 7.0}}] },
                "tidegate": { "median": 100.0, "ours_over_it": 1.0, "ours_over_it_upper_95": 1.0, "runs": [] },
            },
            "must_reach": [{ "ours": "tidegate", "beside": "bun", "at_most": 0.5, "upper_95": 0.6, "met": false }],
        });
        let text = versus(
            &json!({ "date": "2026-11-28", "cores": 2, "rounds": 11, "rows": { "echo/1": row.clone() } }),
        );
        assert!(
            text.contains("| bun | 200 | 0.50 | 0.60 | 7 | - | - | 1 |"),
            "{text}"
        );
        assert!(
            text.contains("Missed: tidegate over bun was to be at most 0.5, and is 0.600."),
            "{text}"
        );
        let picture = svg(&[Panel::read(&row, "Echo").expect("it has servers")]);
        assert!(
            picture.contains("class=\"o\"") && picture.contains("200 ns"),
            "{picture}"
        );
    }

    #[test]
    fn a_series_becomes_a_table() {
        let point = json!({ "x": 16, "cost": 2000.4, "per_second": 1.0, "p50_us": null, "p99_us": null, "load": "echo" });
        let text = scale(
            &json!({ "date": "2026-11-28", "cores": 2, "rounds": 3, "series": { "size": [point] } }),
        );
        assert!(text.contains("| 16 | 2000 | 1 | - | - |"), "{text}");
    }
}
