//! What the tests read of the documentation: links, tables and console examples.

use std::path::Path;

/// A link inside the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Line number from 1.
    pub line: usize,
    /// The path part, empty for a place on the same page.
    pub path: String,
    /// The part after `#`, if any.
    pub anchor: Option<String>,
}

/// All links of a page that stay inside the repository. Code, inline or fenced, holds none.
pub fn links(page: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (number, line) in prose(page) {
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = &rest[..end];
            rest = &rest[end..];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = match target.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor.to_owned())),
                None => (target, None),
            };
            links.push(Link { line: number, path: path.to_owned(), anchor });
        }
    }
    links
}

/// What is wrong with the links of `page` (its text) that lies at `file`.
pub fn broken_links(file: &Path, page: &str) -> Vec<String> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut broken = Vec::new();
    for link in links(page) {
        let target = if link.path.is_empty() { file.to_path_buf() } else { folder.join(&link.path) };
        if !target.exists() {
            broken.push(format!("{}:{}: `{}` does not exist", file.display(), link.line, link.path));
            continue;
        }
        let Some(anchor) = link.anchor else { continue };
        let text = if link.path.is_empty() { Ok(page.to_owned()) } else { std::fs::read_to_string(&target) };
        if !text.is_ok_and(|text| headings(&text).contains(&anchor)) {
            broken.push(format!(
                "{}:{}: `{}` has no heading `#{anchor}`",
                file.display(),
                link.line,
                target.display()
            ));
        }
    }
    broken
}

/// The anchors that mdBook and GitHub make of a page's headings.
pub fn headings(page: &str) -> Vec<String> {
    let titles = prose(page).into_iter().filter(|(_, line)| line.starts_with('#'));
    titles
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The lines of a page outside code, with their numbers; inline code is cut out.
fn prose(page: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let outside: Vec<&str> = line.split('`').step_by(2).collect();
            let text = if line.starts_with('#') { line.replace('`', "") } else { outside.concat() };
            lines.push((number + 1, text));
        }
    }
    lines
}

/// Words in backquotes in the rows of a page's tables, with their line numbers.
pub fn table_words(page: &str) -> Vec<(usize, String)> {
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    rows.flat_map(|(number, line)| {
        line.split('`').skip(1).step_by(2).map(move |word| (number + 1, word.to_owned()))
    })
    .collect()
}

/// One command of a console example and what the page says it prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Line number of the command, from 1.
    pub line: usize,
    /// The command, for `sh -c`; lines that end in a backslash are joined.
    pub command: String,
    /// The lines below it. A line of `…` alone stands for any number of lines.
    pub output: Vec<String>,
}

/// The console examples of a page: each fenced block marked `console`, as its steps.
pub fn console(page: &str) -> Vec<Vec<Step>> {
    let mut blocks: Vec<Vec<Step>> = Vec::new();
    let mut is_console = false;
    let mut continues = false;
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            is_console = line == "```console";
            if is_console {
                blocks.push(Vec::new());
            }
            continues = false;
            continue;
        }
        if !is_console {
            continue;
        }
        let block = blocks.last_mut().expect("pushed when the block began");
        if continues {
            let step = block.last_mut().expect("a continued line follows a command");
            step.command.push('\n');
            step.command.push_str(line);
            continues = line.ends_with('\\');
        } else if let Some(command) = line.strip_prefix("$ ") {
            block.push(Step { line: number + 1, command: command.to_owned(), output: Vec::new() });
            continues = command.ends_with('\\');
        } else if let Some(step) = block.last_mut() {
            step.output.push(line.to_owned());
        }
    }
    blocks
}

/// Whether `printed` is what the page shows, `…` lines standing for anything.
pub fn shows(page: &[String], printed: &[&str]) -> bool {
    match page.split_first() {
        None => printed.is_empty(),
        Some((dots, rest)) if dots.trim() == "…" => (0..=printed.len()).any(|n| shows(rest, &printed[n..])),
        Some((line, rest)) => {
            printed.first().is_some_and(|p| p.trim_end() == line.trim_end()) && shows(rest, &printed[1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_checked() {
        let page = "# A page, `b`!\nsee [x](other.md#part), [y](https://z), `[not](me)`\n```\n[nor](me)\n```\n[here](#a-page-b)\n";
        let found = links(page);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].line, found[0].path.as_str(), found[0].anchor.as_deref()),
            (2, "other.md", Some("part"))
        );
        assert_eq!(broken_links(Path::new("nowhere/page.md"), "[a](b.md)").len(), 1);
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/README.md");
        assert_eq!(broken_links(&here, "# Top\n[a](#top) [b](cases) [c](#bottom)").len(), 1);
    }

    #[test]
    fn console_blocks_are_read() {
        let page = "```console\n$ a \\\n  b\nout\n…\n$ c\n```\n```sh\n$ d\n```\n";
        let blocks = console(page);
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0][0].command, "a \\\n  b");
        assert_eq!(blocks[0][0].output, ["out", "…"]);
        assert_eq!(blocks[0][1], Step { line: 6, command: "c".into(), output: vec![] });
    }

    #[test]
    fn dots_stand_for_anything() {
        let page = ["a", "…", "z"].map(str::to_owned);
        assert!(shows(&page, &["a", "z"]) && shows(&page, &["a", "b", "c", "z"]));
        assert!(!shows(&page, &["a", "b"]) && !shows(&page, &["a"]));
    }

    #[test]
    fn words_of_tables() {
        assert_eq!(table_words("`no`\n| `a/b` | x `c` |\n"), [(2, "a/b".to_owned()), (2, "c".to_owned())]);
    }
}
