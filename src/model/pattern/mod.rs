//! User patterns: which user tags a push is meant for.
//!
//! A pattern is a regular expression in Go's syntax (RE2), searched anywhere in the tag. `go_syntax` rewrites it
//! for the `regex` crate, construct by construct as `reader` takes them from the text; this module holds the result and its limits. What always holds: matching takes time
//! linear in the text, and a pattern that exists stays within the limits it was parsed with.

mod go_syntax;
mod reader;

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// A compiled user pattern. A clone shares the compiled form.
#[derive(Clone)]
pub struct Pattern(Arc<Parsed>);

struct Parsed {
    source: String,
    matcher: Matcher,
}

enum Matcher {
    /// `^literal$`: the text must be this.
    Exact(String),
    /// Anything else: the text must contain a match.
    Search(Regex),
}

/// How much one pattern may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternLimits {
    /// Length of the source text.
    pub pattern_bytes_max: usize,
    /// Size of the compiled program, and again of the cache with which one thread runs it.
    pub compiled_bytes_max: usize,
}

impl Default for PatternLimits {
    /// 4 KiB of source, 2 MiB compiled.
    fn default() -> PatternLimits {
        PatternLimits { pattern_bytes_max: 4 << 10, compiled_bytes_max: 2 << 20 }
    }
}

impl Pattern {
    /// Reads `source` as Go's `regexp.Compile` does (specification, section 1.10).
    ///
    /// Three things differ. Accepted though Go refuses: nested counted repetitions whose product is over 1000, and
    /// names of Unicode properties that Go does not know. Refused though Go accepts: more than 100 groups inside
    /// one another, and what grows beyond `limits`. And each engine has the tables of its own Unicode version.
    ///
    /// # Errors
    /// [`PatternError::TooLong`] and [`PatternError::TooComplex`] at the limits, otherwise [`PatternError::Syntax`].
    pub fn parse(source: &str, limits: PatternLimits) -> Result<Pattern, PatternError> {
        let (bytes, bytes_max) = (source.len(), limits.pattern_bytes_max);
        if bytes > bytes_max {
            return Err(PatternError::TooLong { bytes, bytes_max });
        }
        let translation = go_syntax::translate(source)?;
        let matcher = match translation.literal {
            Some(literal) => Matcher::Exact(literal),
            None => Matcher::Search(compile(&translation.rust, limits.compiled_bytes_max)?),
        };
        Ok(Pattern(Arc::new(Parsed { source: source.to_owned(), matcher })))
    }

    /// The one text that a pattern matches, if it is written as `^literal$`: found without compiling anything.
    pub fn read_literal(source: &str, limits: PatternLimits) -> Option<String> {
        let is_anchored = source.starts_with('^') || source.starts_with(r"\A") || source.starts_with("(?");
        if !is_anchored || source.len() > limits.pattern_bytes_max {
            return None;
        }
        go_syntax::translate(source).ok()?.literal
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether `text` contains a match.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0.matcher {
            Matcher::Exact(literal) => literal == text,
            Matcher::Search(regex) => regex.is_match(text),
        }
    }

    /// The one text that matches, if the pattern is written as `^literal$` (or with `\A` and `\z`): then there is
    /// nothing to search, the user can be looked up.
    pub fn literal(&self) -> Option<&str> {
        match &self.0.matcher {
            Matcher::Exact(literal) => Some(literal),
            Matcher::Search(_) => None,
        }
    }
}

/// Shows the source text.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source()).finish()
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// The source is longer than allowed; nothing of it was read.
    TooLong {
        /// Its length.
        bytes: usize,
        /// [`PatternLimits::pattern_bytes_max`].
        bytes_max: usize,
    },
    /// Nested too deeply, or too large once compiled.
    TooComplex,
    /// Not a regular expression; the parser's reason in one line.
    Syntax(String),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::TooLong { bytes, bytes_max } => {
                write!(f, "expression too long: {bytes} bytes, at most {bytes_max} are allowed")
            }
            PatternError::TooComplex => f.write_str("expression too complex"),
            PatternError::Syntax(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for PatternError {}

/// Compiles what the translator wrote. Little can fail by then: the size, and names of Unicode properties, which
/// only the engine knows.
fn compile(rust: &str, compiled_bytes_max: usize) -> Result<Regex, PatternError> {
    RegexBuilder::new(rust)
        .size_limit(compiled_bytes_max)
        .dfa_size_limit(compiled_bytes_max)
        .nest_limit(go_syntax::NEST_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::Syntax(report) => PatternError::Syntax(last_line(&report)),
            _ => PatternError::TooComplex,
        })
}

/// The engine draws the place of the fault in the translated text, which the author never saw; only the last line
/// of its report, the reason, is of use.
fn last_line(report: &str) -> String {
    let line = report.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn parse(source: &str) -> Result<Pattern, PatternError> {
        Pattern::parse(source, PatternLimits::default())
    }

    fn pattern(source: &str) -> Pattern {
        parse(source).unwrap_or_else(|error| panic!("{source}: {error}"))
    }

    #[test]
    fn a_pattern_is_searched_anywhere_in_the_tag() {
        let tags = ["A:1", "A:10", "BA:1", "B"];
        assert_eq!(tags.map(|tag| pattern("A:1").matches(tag)), [true, true, true, false]);
    }

    #[test]
    fn gu_049_an_anchored_literal_names_one_user() {
        let tags = ["A:1", "A:10", "BA:1", "A:1\n"];
        assert_eq!(tags.map(|tag| pattern("^A:1$").matches(tag)), [true, false, false, false]);
    }

    #[test]
    fn gu_051_a_syntax_error_has_a_short_reason() {
        let reasons =
            ["(", "a)", "*", "[b", r"\y", r"\p{Nix}"].map(|source| parse(source).unwrap_err().to_string());
        assert_eq!(
            reasons,
            [
                "missing closing )",
                "unexpected )",
                "missing argument to repetition operator",
                "missing closing ]",
                "invalid escape sequence",
                "Unicode property not found",
            ]
        );
    }

    #[test]
    fn gu_053_case_counts_unless_told_otherwise() {
        assert!(!pattern("a:1").matches("A:1"));
        assert!(pattern("(?i)a:1").matches("A:1"));
    }

    #[test]
    fn gu_054_digits_are_ascii_only() {
        assert!(pattern(r"^\d+$").matches("57"));
        assert!(!pattern(r"\d").matches("\u{665}"));
    }

    #[test]
    fn only_a_plain_anchored_text_is_a_literal() {
        let literals = [
            (r"^A:1$", Some("A:1")),
            (r"\AA:1\z", Some("A:1")),
            (r"^a\.b\x41\101$", Some("a.bAA")),
            (r"^\Qa.b(\E!$", Some("a.b(!")),
            (r"^a{,5}$", Some("a{,5}")),
            (r"^$", Some("")),
            (r"(?s)^a$", Some("a")),
            (r"A:1", None),
            (r"^A:1", None),
            (r"A:1$", None),
            (r"^A.1$", None),
            (r"^A1?$", None),
            (r"^A|B$", None),
            (r"^(A)$", None),
            (r"^A$B", None),
            (r"^\x{D800}$", None),
            (r"(?i)^A$", None),
            (r"(?m)^A$", None),
            (r"^A(?m)$", None),
        ];
        for (source, literal) in literals {
            assert_eq!(pattern(source).literal(), literal, "{source}");
        }
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let started = Instant::now();
        let deep = format!("{}a{}", "(".repeat(2000), ")".repeat(2000));
        let sources = [
            "((a{100}){100}){100}".to_owned(),
            deep,
            r"(?i)\PL".repeat(500),
            "(?i)[!-\u{10FFFF}]".repeat(300),
            r"(?i)[\Wk]".repeat(400),
        ];
        for source in sources {
            assert_eq!(parse(&source).unwrap_err(), PatternError::TooComplex, "{source}");
        }
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn length_is_limited_in_bytes() {
        assert!(parse(&"a".repeat(4096)).is_ok());
        assert_eq!(
            parse(&"a".repeat(4097)).unwrap_err(),
            PatternError::TooLong { bytes: 4097, bytes_max: 4096 }
        );
    }

    #[test]
    fn groups_may_nest_as_deeply_as_promised() {
        let nested = |depth: usize| format!("{}a{}", "(?:b|".repeat(depth), ")*".repeat(depth));
        assert!(parse(&nested(go_syntax::GROUPS_OPEN_MAX)).is_ok());
        assert_eq!(parse(&nested(go_syntax::GROUPS_OPEN_MAX + 1)).unwrap_err(), PatternError::TooComplex);
    }

    #[test]
    fn debug_shows_the_source() {
        assert_eq!(format!("{:?}", pattern("^a+$")), r#"Pattern("^a+$")"#);
    }
}
