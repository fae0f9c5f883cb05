//! What the documents point at is there: links lead to files and headings, and what is quoted as an error is said by the
//! sources. Addresses outside the repository are not visited. The reference of all settings is what `gusher config reference`
//! prints; with `REFERENCE=rewrite` in the environment it is written anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this ending, in the root and below these folders.
fn files(folders: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(root()).into_iter().filter(|path| path.is_file()).collect();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for path in entries(&folder) {
            if path.is_dir() && path.file_name().is_none_or(|name| name != "node_modules") {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|own| own == ending));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a readable entry").path()).collect()
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text without its blocks of code, in which nothing is a link or a heading.
fn prose(markdown: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in markdown.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence && !line.starts_with("    ") {
            kept.push_str(line);
        }
        kept.push('\n');
    }
    kept
}

/// What links to headings call them: small letters, digits, `_` and `-`, and a `-` for each blank.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in prose(markdown).lines().filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
        let anchor: String = kept.map(|char| if char == ' ' { '-' } else { char }).collect();
        let mut again = 0;
        let mut own = anchor.clone();
        while !anchors.insert(own) {
            again += 1;
            own = format!("{anchor}-{again}");
        }
    }
    anchors
}

/// Why a link from `page` leads nowhere.
fn complaint(page: &Path, link: &str) -> Option<String> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_owned() } else { page.with_file_name("").join(file) };
    if !target.exists() {
        return Some(format!("{}: {link} is not there", page.display()));
    }
    let is_lost = !anchor.is_empty() && !anchors(&text_of(&target)).contains(anchor);
    is_lost.then(|| format!("{}: {link} has no such heading", page.display()))
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let mut complaints = Vec::new();
    let mut seen = 0;
    for page in files(&["docs", "deploy", "tests", "benches", "examples"], "md") {
        let text = prose(&text_of(&page));
        let links = link.captures_iter(&text).map(|found| found.get(1).map_or("", |link| link.as_str()));
        for link in links.filter(|link| !link.contains("://")) {
            seen += 1;
            complaints.extend(complaint(&page, link));
        }
    }
    assert!(seen > 40, "only {seen} links were found");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn headings_are_called_what_links_call_them() {
    let page =
        "# A `x.y`, b & c\n\n    # no heading\n\n## gusher slave and gusher master\n## Twice\n## Twice\n";
    let expected = ["a-xy-b--c", "gusher-slave-and-gusher-master", "twice", "twice-1"];
    assert_eq!(anchors(page), expected.map(str::to_owned).into());
}

/// Of a row in a table with a column `text`, what that column quotes; of any other line, quotes of several words.
fn quotes(markdown: &str) -> Vec<String> {
    let quoted = Regex::new("`([^`]+)`").expect("a pattern");
    let mut found = Vec::new();
    let mut in_texts = false;
    for line in markdown.lines() {
        if line.starts_with('|') {
            let text = line.split('|').nth(2).unwrap_or_default().trim();
            in_texts |= text == "text";
            if in_texts {
                found.extend(quoted.captures_iter(text).map(|quote| quote[1].to_owned()));
            }
        } else {
            in_texts = false;
        }
    }
    // Joined, as a quote may be broken by the end of a line.
    let prose: Vec<&str> = markdown.lines().filter(|line| !line.starts_with('|')).collect();
    let prose = prose.join(" ");
    let sentences =
        quoted.captures_iter(&prose).map(|text| text[1].split_whitespace().collect::<Vec<_>>().join(" "));
    found.extend(sentences.filter(|text| text.contains(' ') && !is_command(text)));
    found
}

fn is_command(text: &str) -> bool {
    ["gusher ", "curl ", "journalctl ", "ss ", "grep ", "X-Gusher-"]
        .iter()
        .any(|start| text.starts_with(start))
}

#[test]
fn what_is_quoted_as_an_error_is_said_by_the_sources() {
    let sources: String = files(&["src"], "rs").iter().map(|path| text_of(path)).collect();
    let quotes = quotes(&text_of(&root().join("docs/troubleshooting.md")));
    assert!(quotes.len() > 60, "only {} texts were found", quotes.len());
    let lost: Vec<_> = quotes.iter().filter(|text| !sources.contains(&text.replace('"', "\\\""))).collect();
    assert!(lost.is_empty(), "no source says {lost:#?}");
}

/// What stands before and behind the reference in its page.
const REFERENCE: [&str; 2] = [
    "<!-- Written by `REFERENCE=rewrite cargo test --test documents reference`. -->\n",
    "<!-- End of the reference. -->",
];

#[test]
fn the_reference_of_all_settings_is_that_of_the_program() {
    let (path, [begin, end]) = (root().join("docs/configuration.md"), REFERENCE);
    let page = text_of(&path);
    let parts = page.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, behind) = parts.expect("the page has a place for the reference");
    let current = format!("{before}{begin}\n{}\n{end}{behind}", gusher::config::reference());
    if std::env::var("REFERENCE").is_ok_and(|wish| wish == "rewrite") {
        fs::write(&path, current).expect("the page can be written");
    } else {
        let hint = "REFERENCE=rewrite cargo test --test documents reference";
        assert!(page == current, "docs/configuration.md is not what the defaults say: {hint}");
    }
}
