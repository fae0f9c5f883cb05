//! Holds the order of the modules and the habits of the code, by reading the sources under `src/`.
//!
//! It reads text, not types: comments, literals and test code are blanked out first, the rest is searched. What a
//! macro makes up is therefore not seen. The tables come first; to allow something, add a row there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::{Captures, Regex};

/// Who may import whom: a module, and the top modules that its files may name after `crate::`. Lower knows nothing of
/// higher. A module may always import itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("net", &[]),
    // Of `model` only the dialects, by which sockets are counted.
    ("metrics", &["model"]),
    ("feed", &["model"]),
    // Knows nothing of what it does.
    ("turns", &[]),
    ("config", &["model"]),
    // `feed` for what the console is told of it.
    ("dialect", &["model", "feed"]),
    ("bus", &["model", "config", "metrics"]),
    ("store", &["model", "config", "metrics"]),
    // `store` for the outbox: what webhooks tell is kept until it is told.
    ("hook", &["model", "dialect", "store", "config", "metrics", "feed"]),
    // Of `net` only the stream and of `dialect` only the session that travel in a mailbox.
    ("hub", &["model", "net", "dialect", "bus", "store", "hook", "config", "metrics", "feed", "turns"]),
    ("shard", &["model", "net", "dialect", "hub", "config", "metrics", "feed"]),
    // `hook` for the figures of webhooks.
    ("admin", &["model", "hook", "hub", "config", "metrics"]),
    // `hook` to ask before admitting: asking waits, and the hub never does.
    ("door", &["model", "net", "dialect", "hub", "hook", "admin", "config", "metrics", "feed", "turns"]),
    // A load tester is a client: it shares the bytes with a server, and the signature.
    ("bench", &["net", "dialect"]),
    ("node", ALL_BUT_CLI),
    ("cli", EVERYTHING),
    ("main", EVERYTHING),
];

const ALL_BUT_CLI: &[&str] = &[
    "model", "net", "metrics", "feed", "config", "dialect", "bus", "store", "hook", "hub", "shard", "admin",
    "door", "turns",
];

const EVERYTHING: &[&str] = &[
    "model", "net", "metrics", "feed", "config", "dialect", "bus", "store", "hook", "hub", "shard", "admin",
    "door", "node", "bench", "cli", "turns",
];

/// Modules that never wait: no runtime, no lock, no disk.
const NEVER_WAIT: &[&str] = &["model", "dialect", "shard"];

/// Words that mean waiting, and where such code belongs.
const WAITING_WORDS: &[(&str, &str)] = &[
    ("async", "what waits belongs to door, hook, store or node"),
    ("await", "what waits belongs to door, hook, store or node"),
    ("Mutex", "shared state belongs to hub"),
    ("RwLock", "shared state belongs to hub"),
    ("Condvar", "shared state belongs to hub"),
    ("fs", "files belong to store, config and cli"),
    ("File", "files belong to store, config and cli"),
    ("OpenOptions", "files belong to store, config and cli"),
];

/// Exceptions to the words above: file, word, reason.
const MAY_WAIT: &[(&str, &str, &str)] = &[];

/// A longer function, or a longer file without its tests, gives its reason in a line that begins with [`REASON`].
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const REASON: &str = "Long because ";

#[test]
fn modules_import_only_what_lies_below_them() {
    report(sources().iter().flat_map(forbidden_imports));
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    report(circle(&sources()));
}

#[test]
fn model_dialect_and_shard_never_wait() {
    let sources = sources();
    report(sources.iter().flat_map(|source| waiting(source, MAY_WAIT)));
    report(MAY_WAIT.iter().filter(|row| !sources.iter().any(|source| needs(source, row))).map(|(path, word, _)| {
        format!("tests/architecture.rs: MAY_WAIT allows `{word}` in {path}, which does without: remove the row")
    }));
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    report(sources().iter().flat_map(unwraps));
}

#[test]
fn long_functions_and_files_give_their_reason() {
    report(sources().iter().flat_map(|source| [long_functions(source), long_file(source)].concat()));
}

fn report(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<_> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{} to put right:\n  {}\n", findings.len(), findings.join("\n  "));
}

/// One file under `src/`.
struct Source {
    /// Relative to the root of the package, with `/`.
    path: String,
    raw: String,
    /// As long as `raw`, line by line and byte by byte; comments, literals and test code are blanks.
    code: String,
}

/// A top module named in a source, and where.
struct Import {
    module: String,
    line: usize,
}

impl Source {
    fn new(path: &str, raw: &str) -> Self {
        Self { path: path.to_owned(), raw: raw.to_owned(), code: without_tests(&without_literals(raw)) }
    }

    /// The path of modules from the crate's root: `src/cli/mod.rs` and `src/cli.rs` are both `cli`.
    fn modules(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inner.split('/').collect()
    }

    fn module(&self) -> &str {
        self.modules()[0]
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }

    fn finding(&self, line: usize, text: &str) -> String {
        format!("{}:{line}: {text}", self.path)
    }

    /// Whatever the file names at the crate's root, be it through `crate::` or through enough `super::`.
    fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        let path = regex(r"\b(crate|super(?:\s*::\s*super)*)\s*::\s*(\{|\*|\w+)");
        for captures in path.captures_iter(&self.code) {
            let (whole, target) =
                (captures.get_match(), captures.get(2).expect("the group takes part in every match"));
            let reaches_root = &captures[1] == "crate"
                || captures[1].matches("super").count()
                    == self.modules().len() + self.inline_modules(whole.start());
            if reaches_root {
                let line = self.line_of(whole.start());
                let names = first_names(&self.code, target.start());
                found.extend(names.into_iter().map(|module| Import { module, line }));
            }
        }
        found
    }

    /// How many `mod name { ... }` of this file enclose the position.
    fn inline_modules(&self, at: usize) -> usize {
        let blocks = regex(r"\bmod\s+\w+\s*\{");
        blocks
            .find_iter(&self.code)
            .filter(|open| open.end() < at && at < block_end(&self.code, open.end() - 1))
            .count()
    }
}

/// Every source of the package but test code in files of its own: `tests/`, `tests.rs`, `*_tests.rs`.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "src", &mut found);
    found
}

fn collect(root: &Path, folder: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(folder)).expect("the sources are readable");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("the sources are readable").file_name()).collect();
    names.sort();
    for name in names {
        let name = name.to_string_lossy();
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() && name != "tests" {
            collect(root, &path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            found.push(Source::new(
                &path,
                &fs::read_to_string(root.join(&path)).expect("the sources are readable"),
            ));
        }
    }
}

// The rules.

fn forbidden_imports(source: &Source) -> Vec<String> {
    let module = source.module();
    // The module map names every module; that is its purpose.
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![source.finding(1, &format!("module `{module}` has no row in MAY_IMPORT: add one"))];
    };
    let forbidden = |import: &Import| import.module != module && !allowed.contains(&import.module.as_str());
    let advice = |import: Import| {
        let text = format!(
            "`{module}` may not import `{}`: move what is needed below both, or pass it in; MAY_IMPORT has the order",
            import.module
        );
        source.finding(import.line, &text)
    };
    source.imports().into_iter().filter(forbidden).map(advice).collect()
}

/// One finding per import between modules that are part of a circle, or depend on one and are depended on by one.
fn circle(sources: &[Source]) -> Vec<String> {
    let mut edges: BTreeMap<(&str, String), String> = BTreeMap::new();
    for source in sources.iter().filter(|source| !matches!(source.module(), "lib" | "main")) {
        for import in source.imports().into_iter().filter(|import| import.module != source.module()) {
            let text = format!(
                "`{}` imports `{}` in a circle: turn one of the imports round",
                source.module(),
                import.module
            );
            let finding = source.finding(import.line, &text);
            edges.entry((source.module(), import.module)).or_insert(finding);
        }
    }
    // A module that imports nothing, or that nobody imports, is in no circle. What is left when all such are gone is.
    loop {
        let importers: BTreeSet<String> = edges.keys().map(|(from, _)| (*from).to_owned()).collect();
        let imported: BTreeSet<String> = edges.keys().map(|(_, to)| to.clone()).collect();
        let before = edges.len();
        edges.retain(|(from, to), _| importers.contains(to) && imported.contains(*from));
        if edges.len() == before {
            return edges.into_values().collect();
        }
    }
}

fn waiting(source: &Source, allowed: &[(&str, &str, &str)]) -> Vec<String> {
    if !NEVER_WAIT.contains(&source.module()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (word, home) in WAITING_WORDS {
        let permitted = allowed.iter().any(|(path, name, _)| *path == source.path && name == word);
        for hit in word_in(word).find_iter(&source.code).filter(|_| !permitted) {
            let text = format!("`{word}` in `{}`, which never waits: {home}", source.module());
            found.push(source.finding(source.line_of(hit.start()), &text));
        }
    }
    found
}

fn needs(source: &Source, (path, word, _): &(&str, &str, &str)) -> bool {
    source.path == *path && word_in(word).is_match(&source.code)
}

fn unwraps(source: &Source) -> Vec<String> {
    let text = "unwrap() outside tests: handle the error, or state the invariant with expect()";
    let hits = regex(r"\.\s*unwrap\s*\(\s*\)");
    hits.find_iter(&source.code).map(|hit| source.finding(source.line_of(hit.start()), text)).collect()
}

fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.raw.lines().collect();
    let mut found = Vec::new();
    for head in regex(r"\bfn\s+(\w+)").captures_iter(&source.code) {
        let start = head.get_match().start();
        let (first, last) = (source.line_of(start), source.line_of(item_end(&source.code, start)));
        let length = 1 + last - first;
        let above =
            lines[..first - 1].iter().rev().take_while(|line| line.trim_start().starts_with(['/', '#']));
        let reason = above.chain(&lines[first - 1..last]).any(|line| gives_reason(line));
        if length > FUNCTION_LINES_MAX && !reason {
            let text = format!(
                "fn {} has {length} lines, more than {FUNCTION_LINES_MAX}: split it, or say why not in a line `// {REASON}...`",
                &head[1]
            );
            found.push(source.finding(first, &text));
        }
    }
    found
}

fn long_file(source: &Source) -> Vec<String> {
    // A line counts unless it belongs to test code: then it has text in the file but none once tests are gone.
    let plain = without_literals(&source.raw);
    let tests = plain.lines().zip(source.code.lines()).filter(|(with, without)| with != without).count();
    let length = source.raw.lines().count() - tests;
    let mut head = source.raw.lines().take_while(|line| line.is_empty() || line.starts_with("//"));
    if length <= FILE_LINES_MAX || head.any(gives_reason) {
        return Vec::new();
    }
    let text = format!(
        "{length} lines without tests, more than {FILE_LINES_MAX}: split the file, or say why not in a line `//! {REASON}...` at its head"
    );
    vec![source.finding(1, &text)]
}

// Reading text.

/// Whether a line is a comment that begins with [`REASON`] and goes on.
fn gives_reason(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix("//").map(|rest| rest.trim_start_matches(['/', '!']).trim());
    comment.and_then(|text| text.strip_prefix(REASON)).is_some_and(|reason| !reason.is_empty())
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this file are valid")
}

fn word_in(word: &str) -> Regex {
    regex(&format!(r"\b{word}\b"))
}

/// Blanks with the shape of the text: same bytes, same lines.
fn blanks(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// Blanks out comments, strings and characters. The alternatives are tried where the previous match ended, which makes
/// the pattern a lexer; lifetimes match none of them.
fn without_literals(raw: &str) -> String {
    let comments = r"//[^\n]*|/\*.*?\*/";
    let raw_strings = r####"\b[bc]?r"[^"]*"|\b[bc]?r#".*?"#|\b[bc]?r##".*?"##|\b[bc]?r###".*?"###"####;
    let strings = r#""(?:\\.|[^"\\])*""#;
    let characters = r"'(?:\\.[^']*|[^'\\])'";
    let literal = format!("(?s){comments}|{raw_strings}|{strings}|{characters}");
    regex(&literal).replace_all(raw, |found: &Captures<'_>| blanks(&found[0])).into_owned()
}

/// Blanks out every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    for attribute in regex(r"#\[cfg\((?:all\()?test\b").find_iter(code) {
        let item = attribute.start()..item_end(code, attribute.start());
        let blank = blanks(&code[item.clone()]);
        kept.replace_range(item, &blank);
    }
    kept
}

/// Where the item that begins here ends: after its block, or after its semicolon if it has none.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            b'{' if depth == 0 => return block_end(code, at),
            _ => {}
        }
    }
    code.len()
}

/// Where the block whose opening brace is here ends: after its closing brace.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The first name of each path that begins here: one, or one per branch of a group in braces.
fn first_names(code: &str, at: usize) -> Vec<String> {
    let first = regex(r"^\s*(\w+|\*)");
    let name = |text: &str| first.captures(text).map(|found| found[1].to_owned());
    if !code[at..].starts_with('{') {
        return name(&code[at..]).into_iter().collect();
    }
    let mut depth = 0;
    let group = &code[at + 1..block_end(code, at) - 1];
    let branches = group.split(|letter: char| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    branches.filter_map(name).collect()
}

/// The rules themselves, tried on sources made for it.
mod rules {
    use super::*;

    fn imports(path: &str, raw: &str) -> Vec<String> {
        Source::new(path, raw)
            .imports()
            .into_iter()
            .map(|import| format!("{} {}", import.module, import.line))
            .collect()
    }

    #[test]
    fn an_import_is_found_in_every_spelling() {
        assert_eq!(
            imports("src/model/app.rs", "\nuse crate::hub::Hub;\nlet x = crate::net::y();"),
            ["hub 2", "net 3"]
        );
        assert_eq!(
            imports("src/model/app.rs", "use crate::{hub::{A, B}, net, store::*};"),
            ["hub 1", "net 1", "store 1"]
        );
        assert_eq!(imports("src/dialect/gusher/api.rs", "use super::super::super::hub::Hub;"), ["hub 1"]);
        assert_eq!(imports("src/metrics.rs", "use super::{hub, net::X};"), ["hub 1", "net 1"]);
    }

    #[test]
    fn what_is_no_import_is_not_taken_for_one() {
        assert!(imports("src/model/app.rs", "pub(crate) fn f() {} use super::channel::Name;").is_empty());
        assert!(
            imports(
                "src/model/app.rs",
                "// crate::hub\nlet s = \"crate::hub\"; let c = r#\"\"crate::hub\"#;"
            )
            .is_empty()
        );
        assert!(imports("src/model/app.rs", "#[cfg(test)]\nmod tests { use crate::hub::Hub; }").is_empty());
        assert!(imports("src/cli/mod.rs", "mod inner { use super::Failure; }").is_empty());
    }

    #[test]
    fn an_import_upwards_is_reported_with_its_place() {
        let findings = forbidden_imports(&Source::new("src/model/app.rs", "\nuse crate::hub::Hub;"));
        assert!(findings[0].starts_with("src/model/app.rs:2: `model` may not import `hub`"), "{findings:?}");
        assert!(forbidden_imports(&Source::new("src/hub/mod.rs", "use crate::model::App;")).is_empty());
        assert_eq!(forbidden_imports(&Source::new("src/unheard_of.rs", "")).len(), 1);
    }

    #[test]
    fn the_table_itself_has_no_circle() {
        let row = |(module, allowed): &(&str, &[&str])| {
            let uses: String = allowed.iter().map(|other| format!("use crate::{other};")).collect();
            Source::new(&format!("src/{module}.rs"), &uses)
        };
        report(circle(&MAY_IMPORT.iter().map(row).collect::<Vec<_>>()));
    }

    #[test]
    fn a_circle_is_found_and_its_surroundings_are_left_out() {
        let file = |path, raw| Source::new(path, raw);
        let line =
            [file("src/a.rs", "use crate::b;"), file("src/b.rs", "use crate::c;"), file("src/c.rs", "")];
        assert!(circle(&line).is_empty());
        let round = [
            file("src/a.rs", "use crate::b;"),
            file("src/b.rs", "use crate::c;"),
            file("src/c.rs", "use crate::b; use crate::d;"),
            file("src/d.rs", ""),
        ];
        let findings = circle(&round);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(
            findings[0].contains("`b` imports `c`") && findings[1].contains("`c` imports `b`"),
            "{findings:?}"
        );
    }

    #[test]
    fn waiting_is_reported_where_it_is_not_allowed() {
        let source = Source::new("src/shard/mod.rs", "use std::fs::File;\nasync fn f() {}");
        assert_eq!(waiting(&source, &[]).len(), 3);
        assert_eq!(waiting(&source, &[("src/shard/mod.rs", "async", "for this test")]).len(), 2);
        assert!(waiting(&Source::new("src/store/mod.rs", "use std::fs::File;"), &[]).is_empty());
    }

    #[test]
    fn an_unwrap_is_reported_outside_tests_only() {
        let raw =
            "fn f() {\n x\n  .unwrap();\n}\n#[cfg(test)]\nmod tests { fn g() { y.unwrap() } }\n// .unwrap()";
        let findings = unwraps(&Source::new("src/a.rs", raw));
        assert!(findings.len() == 1 && findings[0].starts_with("src/a.rs:3:"), "{findings:?}");
    }

    #[test]
    fn a_long_function_needs_a_reason() {
        let function = |reason: &str, lines: usize| {
            let body = "    step();\n".repeat(lines - 2);
            long_functions(&Source::new("src/a.rs", &format!("{reason}fn f(x: [u8; 2]) {{\n{body}}}\n")))
                .len()
        };
        assert_eq!(function("", FUNCTION_LINES_MAX), 0);
        assert_eq!(function("", FUNCTION_LINES_MAX + 1), 1);
        assert_eq!(function("// Long because it is a table.\n#[inline]\n", FUNCTION_LINES_MAX + 1), 0);
        assert_eq!(function("// Long because \n", FUNCTION_LINES_MAX + 1), 1);
    }

    #[test]
    fn a_long_file_needs_a_reason_and_its_tests_do_not_count() {
        let file = |raw: String| long_file(&Source::new("src/a.rs", &raw)).len();
        let lines = "step();\n".repeat(FILE_LINES_MAX);
        assert_eq!(file(lines.clone()), 0);
        assert_eq!(file(format!("{lines}step();\n")), 1);
        assert_eq!(file(format!("//! Head.\n//! Long because it must.\n{lines}")), 0);
        assert_eq!(file(format!("{lines}#[cfg(test)]\nmod tests {{\n{lines}}}\n")), 0);
    }

    #[test]
    fn literals_are_blanked_and_lifetimes_are_not() {
        let raw = "f::<'a>('\"', '\\'', \"\\\"{\", r#\"\"}\"#) /* { */ 'b";
        let code = without_literals(raw);
        assert_eq!(code.len(), raw.len());
        assert_eq!(code.split_whitespace().collect::<String>(), "f::<'a>(,,,)'b");
    }
}
