//! Holds `docs/conformance.md` and the sources together: every item of the checklists is in its table once, in order,
//! and its row names every test of that item, which are the tests and the steps of guests that bear its number.
//!
//! It reads text: a test is a function `gu_NNN_...`, `pc_NNN_...` or `gc_NNN_...` under an attribute with the word `test` in it; a
//! guest's step has its number, `PC-NNN`, in its name. With `CONFORMANCE=rewrite` in the environment the last column is
//! written anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The checklists: the letters before the number, and the last number.
const CHECKLISTS: [(&str, u32); 3] = [("GU", 84), ("PC", 190), ("GC", 83)];

/// What a row says whose item nothing shows.
const UNTESTED: &str = "not shown by a test";

/// An item such as `GU-001`.
type Item = (String, u32);

/// File and name of each test of an item.
type Tests = BTreeMap<Item, Vec<(String, String)>>;

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
    let items: Vec<Item> = complete.lines().filter_map(item).collect();
    let all =
        CHECKLISTS.iter().flat_map(|(list, last)| (1..=*last).map(|number| ((*list).to_owned(), number)));
    assert_eq!(items, all.collect::<Vec<_>>(), "each item has one row, in order");
    let untested: Vec<_> =
        (1..=84).filter(|number| !tests.contains_key(&("GU".to_owned(), *number))).collect();
    assert!(untested.is_empty(), "items without a test: {untested:?}");
    let unknown: Vec<_> = tests.keys().filter(|item| !items.contains(item)).collect();
    assert!(unknown.is_empty(), "tests of items that do not exist: {unknown:?}");
}

#[test]
fn only_functions_that_are_run_as_tests_count() {
    let source = "#[test]\nfn gu_001_a() {}\n    #[tokio::test(flavor = \"x\")]\n    async fn gu_002_b() {}\n\
                  fn gu_003_c() {}\n#[test]\n#[ignore]\nfn gu_004_d() {}\n// fn gu_005_e()\n";
    let found: Vec<_> = tests_in(source).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["gu_001_a", "gu_002_b"]);
}

/// The document with the last column of each row as it should be.
fn completed(document: &str, tests: &Tests) -> String {
    let line = |line: &str| {
        let Some(item) = item(line) else { return line.to_owned() };
        let cells: Vec<_> = line.split(" | ").collect();
        let [number, what, ..] = cells[..] else { panic!("a row has three cells: {line}") };
        let named = tests.get(&item).into_iter().flatten().map(|(file, name)| format!("`{file}` `{name}`"));
        let named = named.collect::<Vec<_>>().join("<br>");
        format!("{number} | {what} | {} |", if named.is_empty() { UNTESTED } else { &named })
    };
    document.lines().map(|text| line(text) + "\n").collect()
}

/// The item of a row.
fn item(line: &str) -> Option<Item> {
    let (list, number) = line.strip_prefix("| ")?.split_once('-')?;
    CHECKLISTS.iter().any(|(known, _)| *known == list).then_some(())?;
    Some((list.to_owned(), number.get(..3)?.parse().ok()?))
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
    for (item, guest) in steps_of_guests() {
        tests.entry(item).or_default().push(("tests/guests.rs".to_owned(), guest));
    }
    tests
}

/// The items that the sources of guests name, each with the directory that does.
fn steps_of_guests() -> Vec<(Item, String)> {
    let number = Regex::new(r"PC-(\d{3})").unwrap();
    let mut steps = std::collections::BTreeSet::new();
    let guests = root().join("tests/guests");
    for file in files(&guests).iter().filter(|file| file.extension().is_some_and(|ending| ending != "md")) {
        let guest = file.strip_prefix(&guests).unwrap().parent().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(file).unwrap();
        let numbers = number.captures_iter(&source).map(|found| found[1].parse().unwrap());
        steps.extend(numbers.map(|number: u32| (("PC".to_owned(), number), guest.clone())));
    }
    steps.into_iter().collect()
}

fn tests_in(source: &str) -> Vec<(Item, String)> {
    let function = Regex::new(r"(?m)((?:^ *#\[.*\]\n)+) *(?:async )?fn ((gu|pc|gc)_(\d{3})_\w+)").unwrap();
    function
        .captures_iter(source)
        .filter(|found| found[1].contains("test") && !found[1].contains("ignore"))
        .map(|found| ((found[3].to_uppercase(), found[4].parse().unwrap()), found[2].to_owned()))
        .collect()
}

/// All Rust files in a directory and below, in order.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files(directory).into_iter().filter(is_rust).collect()
}

/// All files in a directory and below, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
