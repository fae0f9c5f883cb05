//! Go's regular expressions (RE2 syntax, `regexp/syntax` of its library) rewritten for the `regex` crate.
//!
//! This is a full reader of Go's grammar, not a patcher of the few spots that differ: every item is understood and
//! written anew in a narrow dialect that both engines read alike. Characters come out as ASCII letters and digits
//! or as `\x{..}`, so no sign can gain a meaning it had not. Flags are resolved here: one that matters to an item
//! comes out around that item alone, as in `(?i:x)`. As nobody asks where a text matches, only whether, groups come
//! out unnumbered and repetitions greedy.

use super::PatternError;
use super::reader::{Flags, NOTHING, PROPERTY_CODE_POINTS, Reader, spell, syntax};

/// Groups open at one time. Go allows 1000; the engine recurses over them.
pub(super) const GROUPS_OPEN_MAX: usize = 100;

/// The engine's own depth limit: a group costs it up to four levels (group, alternation, sequence, repetition).
pub(super) const NEST_MAX: u32 = 4 * GROUPS_OPEN_MAX as u32 + 10;

/// The engine ignores case by visiting every code point of a class, a few nanoseconds each. This many per pattern.
const FOLDED_CODE_POINTS_MAX: u32 = 1 << 24;

/// A pattern in the engine's syntax.
pub(super) struct Translation {
    pub(super) rust: String,
    /// The text, if the pattern is `^text$`.
    pub(super) literal: Option<String>,
}

/// Reads `source` as Go does.
///
/// # Errors
/// `Syntax` where Go refuses too, `TooComplex` at the limits above.
pub(super) fn translate(source: &str) -> Result<Translation, PatternError> {
    let mut translator = Translator::new(source);
    while let Some(c) = translator.reader.take() {
        translator.item(c)?;
    }
    translator.finish()
}

struct Translator<'s> {
    reader: Reader<'s>,
    rust: String,
    flags: Flags,
    /// For each open group, the flags to return to.
    outer_flags: Vec<Flags>,
    /// There is an item that a repetition could apply to.
    has_operand: bool,
    /// The item just read was a repetition: no other may follow.
    is_repeated: bool,
    shape: Shape,
    folded_code_points: u32,
}

/// How far the pattern looks like `^text$`.
enum Shape {
    Unanchored,
    Open(String),
    Closed(String),
    Other,
}

impl<'s> Translator<'s> {
    fn new(source: &'s str) -> Translator<'s> {
        Translator {
            reader: Reader { rest: source },
            rust: String::with_capacity(source.len()),
            flags: Flags::default(),
            outer_flags: Vec::new(),
            has_operand: false,
            is_repeated: false,
            shape: Shape::Unanchored,
            folded_code_points: 0,
        }
    }

    fn finish(self) -> Result<Translation, PatternError> {
        if !self.outer_flags.is_empty() {
            return Err(syntax("missing closing )"));
        }
        let literal = match self.shape {
            Shape::Closed(text) => Some(text),
            _ => None,
        };
        Ok(Translation { rust: self.rust, literal })
    }

    /// One item, of which `c` is already taken.
    fn item(&mut self, c: char) -> Result<(), PatternError> {
        let follows_repeat = std::mem::take(&mut self.is_repeated);
        match c {
            '(' => return self.open_group(),
            ')' => return self.close_group(),
            '|' => self.alternative(),
            '^' if self.flags.multi_line => self.push_item("(?m:^)"),
            '^' => self.begin_text(),
            '$' if self.flags.multi_line => self.push_item("(?m:$)"),
            '$' => self.end_text(),
            '.' if self.flags.dot_matches_newline => self.push_item("(?s:.)"),
            '.' => self.push_item(r"[^\n]"),
            '[' => return self.class(),
            '\\' => return self.escape(),
            '*' | '+' | '?' => return self.repeat(c.encode_utf8(&mut [0; 4]), follows_repeat),
            '{' => match self.reader.take_counts()? {
                Some(counts) => return self.repeat(&counts, follows_repeat),
                None => self.character('{'),
            },
            c => self.character(c),
        }
        Ok(())
    }

    fn push_item(&mut self, rust: &str) {
        self.rust.push_str(rust);
        self.has_operand = true;
        self.shape = Shape::Other;
    }

    /// An item whose meaning depends on case. It covers this many code points.
    fn push_cased_item(&mut self, rust: &str, code_points: u32) -> Result<(), PatternError> {
        if !self.flags.ignore_case {
            self.push_item(rust);
            return Ok(());
        }
        self.push_item(&format!("(?i:{rust})"));
        self.folded_code_points = self.folded_code_points.saturating_add(code_points);
        if self.folded_code_points > FOLDED_CODE_POINTS_MAX {
            return Err(PatternError::TooComplex);
        }
        Ok(())
    }

    fn character(&mut self, c: char) {
        let wrapped = self.flags.ignore_case;
        self.rust.push_str(if wrapped { "(?i:" } else { "" });
        spell(&mut self.rust, c);
        self.rust.push_str(if wrapped { ")" } else { "" });
        self.has_operand = true;
        match &mut self.shape {
            Shape::Open(text) if !wrapped => text.push(c),
            shape => *shape = Shape::Other,
        }
    }

    fn begin_text(&mut self) {
        let shape =
            if matches!(self.shape, Shape::Unanchored) { Shape::Open(String::new()) } else { Shape::Other };
        self.push_item(r"\A");
        self.shape = shape;
    }

    fn end_text(&mut self) {
        let shape = match &mut self.shape {
            Shape::Open(text) => Shape::Closed(std::mem::take(text)),
            _ => Shape::Other,
        };
        self.push_item(r"\z");
        self.shape = shape;
    }

    fn alternative(&mut self) {
        self.push_item("|");
        self.has_operand = false;
    }

    /// After `(`: a group of any kind, or a change of flags such as `(?i)`.
    fn open_group(&mut self) -> Result<(), PatternError> {
        let inner_flags = if self.reader.skip("?P<") || self.reader.skip("?<") {
            self.reader.take_group_name()?;
            self.flags
        } else if self.reader.skip("?") {
            let (flags, is_group) = self.reader.take_flags(self.flags)?;
            if !is_group {
                self.flags = flags;
                return Ok(());
            }
            flags
        } else {
            self.flags
        };
        if self.outer_flags.len() == GROUPS_OPEN_MAX {
            return Err(PatternError::TooComplex);
        }
        self.push_item("(?:");
        self.has_operand = false;
        self.outer_flags.push(self.flags);
        self.flags = inner_flags;
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), PatternError> {
        self.flags = self.outer_flags.pop().ok_or_else(|| syntax("unexpected )"))?;
        self.push_item(")");
        Ok(())
    }

    fn repeat(&mut self, operator: &str, follows_repeat: bool) -> Result<(), PatternError> {
        self.reader.skip("?");
        if follows_repeat {
            return Err(syntax("invalid nested repetition operator"));
        }
        if !self.has_operand {
            return Err(syntax("missing argument to repetition operator"));
        }
        self.push_item(operator);
        self.is_repeated = true;
        Ok(())
    }

    /// After a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), PatternError> {
        if let Some(property) = self.reader.take_property()? {
            return self.push_cased_item(&property, PROPERTY_CODE_POINTS);
        }
        if let Some(class) = self.reader.take_perl_class() {
            return self.push_cased_item(class, 0);
        }
        match self.reader.peek() {
            Some('A') => self.begin_text(),
            Some('z') => self.end_text(),
            Some('b') => self.push_item(r"(?-u:\b)"),
            Some('B') => self.push_item(r"(?-u:\B)"),
            Some('Q') => return self.quotation(),
            _ => {
                match char::from_u32(self.reader.take_escaped()?) {
                    Some(c) => self.character(c),
                    None => self.push_item(NOTHING),
                }
                return Ok(());
            }
        }
        self.reader.take();
        Ok(())
    }

    /// `\Q...\E`; without `\E` it runs to the end.
    fn quotation(&mut self) -> Result<(), PatternError> {
        self.reader.skip("Q");
        while !self.reader.skip(r"\E") {
            match self.reader.take() {
                Some(c) => self.character(c),
                None => break,
            }
        }
        Ok(())
    }

    /// After `[`.
    fn class(&mut self) -> Result<(), PatternError> {
        let mut rust = String::from(if self.reader.skip("^") { "[^" } else { "[" });
        let mut code_points = 0_u32;
        let mut is_first = true;
        // A bracket in the first place is a member, not the end.
        while is_first || !self.reader.skip("]") {
            is_first = false;
            code_points = code_points.saturating_add(self.reader.take_class_member(&mut rust)?);
        }
        rust.push(']');
        self.push_cased_item(&rust, code_points)
    }
}
