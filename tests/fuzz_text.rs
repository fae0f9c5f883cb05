//! Random input for the two readers of foreign text: request parameters and user patterns.

use gusher::dialect::form::Form;
use gusher::model::pattern::{Pattern, PatternLimits};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";
const CONTENT_TYPES: [&str; 5] = [URLENCODED, MULTIPART, "application/json", "multipart/form-data", ""];

/// Pieces that steer random bytes into the depths of the form readers.
const FORM_PIECES: [&[u8]; 18] = [
    b"a",
    b"=",
    b"&",
    b";",
    b"%",
    b"%4",
    b"%41",
    b"%FF",
    b"+",
    b"\xFF",
    b"--b",
    b"--",
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Disposition: form-data; name=\"a\"",
    b"{\"a\":",
    b"\"1\"",
    b"}",
];

/// Pieces of which most short sequences are almost a pattern.
const PATTERN_PIECES: [&str; 60] = [
    "a",
    "K",
    "é",
    "0",
    "12",
    "_",
    "\n",
    " ",
    ":",
    "<",
    "#",
    ".",
    "^",
    "$",
    "|",
    "(",
    ")",
    "(?:",
    "(?i)",
    "(?i:",
    "(?s-m:",
    "(?-",
    "(?P<n>",
    "(?<n>",
    "[",
    "]",
    "[^",
    "-",
    "&&",
    "~~",
    "[:alpha:]",
    "[:^word:]",
    "[:",
    ":]",
    "*",
    "+",
    "??",
    "{",
    "}",
    "{2}",
    "{2,3}",
    "{,5}",
    "{1000}",
    "\\",
    "\\d",
    "\\W",
    "\\S",
    "\\b",
    "\\B",
    "\\pL",
    "\\P{Greek}",
    "\\p{^Lu}",
    "\\Q",
    "\\E",
    "\\07",
    "\\x",
    "\\x{D800}",
    "\\x{10FFFF}",
    "\\x{",
    "\\z",
];

type Pairs = Vec<(String, String)>;

/// Few names, so that they repeat; any values.
fn pairs() -> impl Strategy<Value = Pairs> {
    vec(("[a-cé ]{1,2}", any::<String>()), 0..6)
}

fn urlencode(pairs: &Pairs) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn multipart(pairs: &Pairs) -> String {
    let part = |(name, value): &(String, String)| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    pairs.iter().map(part).collect::<String>() + "--b--\r\n"
}

/// What must be found: the first pair of that name in the order of the sources.
fn first<'p>(sources: [&'p Pairs; 2], name: &str) -> Option<&'p str> {
    sources.into_iter().flatten().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_request_makes_the_form_reader_panic(
        method_has_body: bool,
        query in ".*",
        content_type in select(&CONTENT_TYPES[..]),
        pieces in vec(select(&FORM_PIECES[..]), 0..30),
        noise in vec(any::<u8>(), 0..20),
    ) {
        let body = [pieces.concat(), noise].concat();
        if let Ok(form) = Form::read(method_has_body, Some(&query), Some(content_type), &body) {
            let _ = form.required("a");
        }
    }

    #[test]
    fn what_was_encoded_is_found(body in pairs(), query in pairs()) {
        let query_text = urlencode(&query);
        let read = |content_type, text: String| {
            Form::read(true, Some(&query_text), Some(content_type), text.as_bytes()).expect("a valid body")
        };
        let by_urlencoding = read(URLENCODED, urlencode(&body));
        let by_multipart = read(MULTIPART, multipart(&body));
        for (name, _) in body.iter().chain(&query) {
            prop_assert_eq!(by_urlencoding.get(name), Ok(first([&body, &query], name)));
            prop_assert_eq!(by_multipart.get(name), Ok(first([&query, &body], name)));
        }
    }

    #[test]
    fn json_strings_are_found_unless_empty(name in any::<String>(), value in any::<String>()) {
        let body = serde_json::json!({ name.as_str(): value }).to_string();
        let form = Form::read(true, None, Some("application/json"), body.as_bytes()).expect("a valid body");
        let expected = (!value.is_empty()).then_some(value.as_str());
        prop_assert_eq!(form.get(&name), Ok(expected));
    }

    #[test]
    fn no_pattern_makes_the_translator_or_the_engine_panic(
        pieces in vec(select(&PATTERN_PIECES[..]), 0..12),
        noise in any::<String>(),
        text in ".*",
    ) {
        for source in [pieces.concat(), noise] {
            match Pattern::parse(&source, PatternLimits::default()) {
                // A group around it changes nothing, unless an open quotation swallows the bracket.
                Ok(pattern) => {
                    let grouped = Pattern::parse(&format!("(?:{source})"), PatternLimits::default());
                    if let Ok(grouped) = grouped {
                        prop_assert_eq!(grouped.matches(&text), pattern.matches(&text));
                    }
                }
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }

    #[test]
    fn an_escaped_text_is_its_own_literal(text: String, other: String) {
        let escape = |c: char| {
            if c.is_ascii() && !c.is_ascii_alphanumeric() { format!("\\{c}") } else { c.to_string() }
        };
        let source: String = text.chars().map(escape).collect();
        let limits = PatternLimits::default();
        let anchored = Pattern::parse(&format!("^{source}$"), limits).expect("an escaped text is a pattern");
        prop_assert_eq!(anchored.literal(), Some(text.as_str()));
        prop_assert_eq!(anchored.matches(&other), text == other);

        let searched = Pattern::parse(&source, limits).expect("an escaped text is a pattern");
        prop_assert!(searched.matches(&[&*other, &*text, &*other].concat()));
        prop_assert_eq!(searched.matches(&other), other.contains(&text));
    }
}
