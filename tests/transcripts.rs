//! Conversations with a real node, as people read them: `tests/transcripts/<dialect>/*.txt`.
//!
//! A line `> ...` is what a backend sends, `alice> ...` what a client does; `< ...` and `alice< ...` are what they
//! get. All other lines are prose. What differs from run to run stands there as its shape, such as `{hash}`. With
//! `TRANSCRIPTS=rewrite` in the environment the lines with `<` are written anew; read them before you keep them.

#[path = "transcripts/script.rs"]
mod script;
#[path = "transcripts/stage.rs"]
mod stage;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use script::Part;
use stage::Stage;

/// What differs from run to run: the name of its shape, and the shape.
const SHAPES: [(&str, &str); 6] = [
    ("{hash}", r"\$2[aby]\$\d\d\$[./0-9A-Za-z]{53}"),
    (r#""app_id":"{id}""#, r#""app_id":"[0-9]{6,9}""#),
    (r#""app_secret":"{secret}""#, r#""app_secret":"[0-9a-f]{32}""#),
    ("{address}", r"127\.0\.0\.1:\d{1,5}"),
    ("{ms}", r"\b\d{13}\b"),
    ("{date}", r"\b\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\b"),
];

#[tokio::test]
async fn conversations_go_as_they_are_written_down() {
    let rewrite = std::env::var("TRANSCRIPTS").is_ok_and(|wish| wish == "rewrite");
    let mut differences = Vec::new();
    for file in files() {
        let written = fs::read_to_string(&file).unwrap();
        let happened = play(&written).await;
        if rewrite {
            fs::write(&file, happened).unwrap();
        } else if let Some(difference) = difference(&written, &happened) {
            differences.push(format!("{}:{difference}", file.display()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn a_conversation_that_goes_otherwise_is_noticed() {
    let written = "> GET /api/app-list as account:password\n< 200 application/json; charset=utf-8\n< {}\n";
    let happened = play(written).await;
    assert_eq!(
        difference(written, &happened).unwrap(),
        "3: written \"< {}\", happened \"< {\\\"total\\\":0,\\\"data\\\":[]}\""
    );
}

/// All transcripts, in order.
fn files() -> Vec<PathBuf> {
    let inside = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let dialects = inside(&root).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<_> = dialects.flat_map(|dialect| inside(&dialect)).collect();
    assert!(!files.is_empty(), "there are transcripts");
    files.sort();
    files
}

/// The transcript of what happens when the part of the clients and backends in `written` is played to a new node.
async fn play(written: &str) -> String {
    let shapes = SHAPES.map(|(name, shape)| (name, Regex::new(shape).unwrap()));
    let mut stage = Stage::new().await;
    let mut happened = String::new();
    let mut add = |line: &str| happened.extend([line, "\n"]);
    for part in script::read(written) {
        match part {
            Part::Prose(prose) => add(prose),
            Part::Said(speech) => {
                speech.lines.iter().for_each(|line| add(line));
                for heard in stage.perform(&speech).await {
                    let shaped = shapes
                        .iter()
                        .fold(heard, |line, (name, shape)| shape.replace_all(&line, *name).into_owned());
                    add(&shaped);
                }
            }
        }
    }
    happened
}

/// Where two transcripts differ first.
fn difference(written: &str, happened: &str) -> Option<String> {
    let (mut written, mut happened) = (written.lines(), happened.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (written.next(), happened.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let [one, other] = [one, other].map(Option::unwrap_or_default);
                return Some(format!("{number}: written {one:?}, happened {other:?}"));
            }
        }
    }
}
