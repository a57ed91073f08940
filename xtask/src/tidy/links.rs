//! Links between the project's documents: the file must be there, and the heading in it. Never follows a link out of
//! the repository.

use super::Files;

pub(super) fn faults(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in files.below(&[""], ".md") {
        for target in links(text) {
            if let Some(why) = fault(files, path, &target) {
                faults.push(format!("{path}: {target}: {why}"));
            }
        }
    }
    faults
}

fn fault(files: &Files, from: &str, target: &str) -> Option<&'static str> {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let Some(path) = (if file.is_empty() {
        Some(from.to_owned())
    } else {
        resolve(from, file)
    }) else {
        return Some("leads out of the repository");
    };
    if files.get(&path).is_none() && !files.root.join(&path).exists() {
        return Some("there is no such file");
    }
    let text = files
        .get(&path)
        .filter(|_| path.ends_with(".md") && !heading.is_empty())?;
    if headings(text).any(|slug| slug == heading) {
        None
    } else {
        Some("there is no such heading")
    }
}

/// Targets of inline links and images that stay in the repository; code is left out.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("·");
        for part in prose.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") && !target.is_empty() {
                targets.push(target.to_owned());
            }
        }
    }
    targets
}

/// The path of a link from the repository's root.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        from.split('/').collect()
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The names under which headings can be linked to.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
}

#[cfg(test)]
mod tests {
    use super::{Files, faults};

    #[test]
    fn dead_links_are_found_and_living_ones_are_not() {
        let read = "[a](docs/b.md) [c](docs/b.md#two-words) [d](docs/none.md) [e](#here) [f](docs/b.md#none) [g](https://x.example/y) `[h](i)`\n\
                    ```\n[j](k)\n```\n[l](../m)\n# Here\n";
        let files = Files::of(&[
            ("README.md", read),
            ("docs/b.md", "# Two words\n[up](../README.md)\n"),
        ]);
        let expected = [
            "README.md: docs/none.md: there is no such file",
            "README.md: docs/b.md#none: there is no such heading",
            "README.md: ../m: leads out of the repository",
        ];
        assert_eq!(faults(&files), expected);
    }
}
