//! Holds `docs/conformance.md` and the sources together: every item of the checklist is in its table once, in order,
//! and its row names every test of that item, which are the tests whose names begin with its number.
//!
//! It reads text: a test is a function `gu_NNN_...` under an attribute with the word `test` in it. With
//! `CONFORMANCE=rewrite` in the environment the last column is written anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The numbers of the checklist.
const ITEMS: std::ops::RangeInclusive<u32> = 1..=84;

/// Number of an item -> file and name of each of its tests.
type Tests = BTreeMap<u32, Vec<(String, String)>>;

#[test]
fn every_item_of_the_checklist_is_in_the_table_with_all_its_tests() {
    let file = root().join("docs/conformance.md");
    let (written, tests) = (fs::read_to_string(&file).unwrap(), tests());
    let complete = completed(&written, &tests);
    if std::env::var("CONFORMANCE").is_ok_and(|wish| wish == "rewrite") {
        fs::write(&file, &complete).unwrap();
    } else {
        let stale: Vec<_> =
            written.lines().zip(complete.lines()).filter(|(one, other)| one != other).collect();
        assert!(stale.is_empty(), "rows that do not name their tests as they should: {stale:#?}");
    }
    let items: Vec<u32> = complete.lines().filter_map(item).collect();
    assert_eq!(items, ITEMS.collect::<Vec<_>>(), "each item has one row, in order");
    let untested: Vec<_> = ITEMS.filter(|item| !tests.contains_key(item)).collect();
    assert!(untested.is_empty(), "items without a test: {untested:?}");
    let unknown: Vec<_> = tests.keys().filter(|item| !ITEMS.contains(item)).collect();
    assert!(unknown.is_empty(), "tests of items that do not exist: {unknown:?}");
}

#[test]
fn only_functions_that_are_run_as_tests_count() {
    let source = "#[test]\nfn gu_001_a() {}\n    #[tokio::test(flavor = \"x\")]\n    async fn gu_002_b() {}\n\
                  fn gu_003_c() {}\n#[test]\n#[ignore]\nfn gu_004_d() {}\n// fn gu_005_e()\n";
    assert_eq!(tests_in(source), [(1, "gu_001_a".to_owned()), (2, "gu_002_b".to_owned())]);
}

/// The document with the last column of each row as it should be.
fn completed(document: &str, tests: &Tests) -> String {
    let line = |line: &str| {
        let Some(item) = item(line) else { return line.to_owned() };
        let cells: Vec<_> = line.split(" | ").collect();
        let [number, what, ..] = cells[..] else { panic!("a row has three cells: {line}") };
        let named = tests.get(&item).into_iter().flatten().map(|(file, name)| format!("`{file}` `{name}`"));
        format!("{number} | {what} | {} |", named.collect::<Vec<_>>().join("<br>"))
    };
    document.lines().map(|text| line(text) + "\n").collect()
}

/// The item of a row.
fn item(line: &str) -> Option<u32> {
    line.strip_prefix("| GU-")?.get(..3)?.parse().ok()
}

/// The tests of all items, by file and place.
fn tests() -> Tests {
    let mut tests = Tests::new();
    for file in ["src", "tests"].iter().flat_map(|directory| sources(&root().join(directory))) {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        for (item, name) in tests_in(&fs::read_to_string(&file).unwrap()) {
            tests.entry(item).or_default().push((path.clone(), name));
        }
    }
    tests
}

fn tests_in(source: &str) -> Vec<(u32, String)> {
    let function = Regex::new(r"(?m)((?:^ *#\[.*\]\n)+) *(?:async )?fn (gu_(\d{3})_\w+)").unwrap();
    function
        .captures_iter(source)
        .filter(|found| found[1].contains("test") && !found[1].contains("ignore"))
        .map(|found| (found[3].parse().unwrap(), found[2].to_owned()))
        .collect()
}

/// All Rust files in a directory and below, in order.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let below = paths.into_iter().flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    below.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
