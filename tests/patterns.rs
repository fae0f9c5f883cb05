//! User patterns against what Go's regexp package says, case by case in `data/go_regex.txt`.

use gusher::model::pattern::{Pattern, PatternLimits};

#[test]
fn patterns_mean_what_they_mean_in_go() {
    let mut pattern = "";
    let mut verdicts = 0;
    for (index, line) in include_str!("data/go_regex.txt").lines().enumerate() {
        let place = format!("line {}: {pattern} {}", index + 1, line.trim());
        let parse = || Pattern::parse(pattern, PatternLimits::default());
        match line.trim_start().split_once(' ').unwrap_or((line.trim_start(), "")) {
            ("" | "#", _) => continue,
            ("pattern", source) => {
                pattern = source;
                continue;
            }
            ("refused", "") => assert!(parse().is_err(), "{place}"),
            ("wider", "") => assert!(parse().is_ok(), "{place}"),
            (verdict @ ("yes" | "no"), texts) => {
                let pattern = parse().unwrap_or_else(|error| panic!("{place}: {error}"));
                for text in quoted(texts) {
                    assert_eq!(pattern.matches(&text), verdict == "yes", "{place}: {text:?}");
                }
            }
            _ => panic!("{place}: neither pattern nor verdict"),
        }
        verdicts += 1;
    }
    assert!(verdicts > 100, "only {verdicts} verdicts read");
}

fn quoted(texts: &str) -> Vec<String> {
    serde_json::from_str(&format!("[{texts}]")).expect("texts are quoted as in JSON")
}
