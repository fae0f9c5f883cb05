//! Go's regular expressions (RE2 syntax, `regexp/syntax` of its library) rewritten for the `regex` crate.
//!
//! This is a full reader of Go's grammar, not a patcher of the few spots that differ: every item is understood and
//! written anew in a narrow dialect that both engines read alike. Characters come out as ASCII letters and digits
//! or as `\x{..}`, so no sign can gain a meaning it had not. Flags are resolved here; the only one that comes out is
//! `(?i:x)` around a single item. As nobody asks where a text matches, only whether, groups come out unnumbered
//! and repetitions greedy.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::PatternError;

/// Groups open at one time. Go allows 1000; the engine recurses over them.
pub(super) const GROUPS_OPEN_MAX: usize = 100;

/// The engine's own depth limit: a group costs it up to four levels (group, alternation, sequence, repetition).
pub(super) const NEST_MAX: u32 = 4 * GROUPS_OPEN_MAX as u32 + 10;

/// The engine ignores case by visiting every code point of a class, a few nanoseconds each. This many per pattern.
const FOLDED_CODE_POINTS_MAX: u32 = 1 << 22;

/// What a Unicode property counts against [`FOLDED_CODE_POINTS_MAX`]: more than the letters of Unicode.
const PROPERTY_CODE_POINTS: u32 = 1 << 18;

/// The largest count of one repetition.
const REPEAT_MAX: u32 = 1000;

/// A class without members. Stands for a surrogate: Go accepts `\x{D800}`, but no UTF-8 text contains it.
const NOTHING: &str = r"\P{any}";

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_RANGE: &str = "invalid character class range";
const BAD_GROUP: &str = "invalid or unsupported Perl syntax";
const BAD_REPEAT_COUNT: &str = "invalid repeat count";
const OPEN_CLASS: &str = "missing closing ]";

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

fn syntax(reason: &str) -> PatternError {
    PatternError::Syntax(reason.to_owned())
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

/// `U` (greediness) is read but changes no match.
#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
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

/// The part of the pattern not read yet. The readers of whole constructs expect their introduction (`(?`, `\`) to
/// have been taken.
struct Reader<'s> {
    rest: &'s str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// After `(?<`: the name, which is checked and forgotten.
    fn take_group_name(&mut self) -> Result<(), PatternError> {
        let (name, rest) = self.rest.split_once('>').ok_or_else(|| syntax("invalid named capture"))?;
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
            return Err(syntax("invalid named capture"));
        }
        self.rest = rest;
        Ok(())
    }

    /// After `(?`: flags like `i-s`, and whether they open a group (`:`) or count for the rest of this one (`)`).
    fn take_flags(&mut self, mut flags: Flags) -> Result<(Flags, bool), PatternError> {
        let mut on = true;
        let mut dangling_minus = false;
        loop {
            match self.take() {
                Some('i') => flags.ignore_case = on,
                Some('m') => flags.multi_line = on,
                Some('s') => flags.dot_matches_newline = on,
                Some('U') => {}
                Some('-') if on => {
                    (on, dangling_minus) = (false, true);
                    continue;
                }
                Some(end @ (':' | ')')) if !dangling_minus => return Ok((flags, end == ':')),
                _ => return Err(syntax(BAD_GROUP)),
            }
            dangling_minus = false;
        }
    }

    /// After `{`: `n}`, `n,}` or `n,m}` as the engine writes it. Anything else is no repetition but text (`None`),
    /// and nothing is taken.
    fn take_counts(&mut self) -> Result<Option<String>, PatternError> {
        let Some((counts, rest)) = self.rest.split_once('}') else { return Ok(None) };
        let (min, max) = counts.split_once(',').unwrap_or((counts, counts));
        if !is_count(min) || !(is_count(max) || max.is_empty()) {
            return Ok(None);
        }
        self.rest = rest;
        let min = repeat_count(min)?;
        let max = if max.is_empty() { None } else { Some(repeat_count(max)?) };
        match max {
            Some(max) if max < min => Err(syntax(BAD_REPEAT_COUNT)),
            Some(max) => Ok(Some(format!("{{{min},{max}}}"))),
            None => Ok(Some(format!("{{{min},}}"))),
        }
    }

    /// After a backslash: `pL`, `p{Greek}`, `P{^Greek}` and so on, if it is one.
    fn take_property(&mut self) -> Result<Option<String>, PatternError> {
        let mut negated = match self.peek() {
            Some('p') => false,
            Some('P') => true,
            _ => return Ok(None),
        };
        self.take();
        let rest = self.rest;
        let mut name = match self.take() {
            Some('{') => {
                let (name, rest) = self.rest.split_once('}').ok_or_else(|| syntax(BAD_RANGE))?;
                self.rest = rest;
                name
            }
            _ => &rest[..rest.len() - self.rest.len()],
        };
        if let Some(positive) = name.strip_prefix('^') {
            (name, negated) = (positive, !negated);
        }
        // The engine has no surrogates; no UTF-8 text has any either.
        if matches!(name, "Cs" | "Surrogate") {
            (name, negated) = ("any", !negated);
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ');
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(syntax(BAD_RANGE));
        }
        Ok(Some(format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' })))
    }

    /// After a backslash: one of `d w s` and their opposites. They are ASCII in Go; the opposites take in every
    /// other character of Unicode.
    fn take_perl_class(&mut self) -> Option<&'static str> {
        let class = match self.peek()? {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => r"[\t\n\x0C\r\x20]",
            'S' => r"[^\t\n\x0C\r\x20]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            _ => return None,
        };
        self.take();
        Some(class)
    }

    /// After a backslash: the code point of a one-character escape. It may be a surrogate.
    fn take_escaped(&mut self) -> Result<u32, PatternError> {
        let c = self.take().ok_or_else(|| syntax("trailing backslash at end of expression"))?;
        let code = match c {
            'a' => 0x07,
            'f' => 0x0C,
            'n' => 0x0A,
            'r' => 0x0D,
            't' => 0x09,
            'v' => 0x0B,
            'x' => self.take_hex().ok_or_else(|| syntax(BAD_ESCAPE))?,
            '0' => self.take_octal(0),
            // A single digit would be a back-reference, which neither engine has.
            '1'..='7' if self.peek().is_some_and(|next| next.is_digit(8)) => {
                self.take_octal(u32::from(c) - 0x30)
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
            _ => return Err(syntax(BAD_ESCAPE)),
        };
        Ok(code)
    }

    /// Up to two more octal digits.
    fn take_octal(&mut self, first: u32) -> u32 {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            self.take();
            code = code * 8 + digit;
        }
        code
    }

    /// After `\x`: two hexadecimal digits, or any number of them in braces.
    fn take_hex(&mut self) -> Option<u32> {
        if !self.skip("{") {
            return Some(self.take()?.to_digit(16)? * 16 + self.take()?.to_digit(16)?);
        }
        let (digits, rest) = self.rest.split_once('}')?;
        self.rest = rest;
        let significant = digits.trim_start_matches('0');
        match significant.len() {
            0 if digits.is_empty() => None,
            0 => Some(0),
            1..=6 if significant.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u32::from_str_radix(significant, 16).ok().filter(|code| *code <= u32::from(char::MAX))
            }
            _ => None,
        }
    }

    /// Inside a class: appends its next member to `rust` and tells how many code points that covers.
    fn take_class_member(&mut self, rust: &mut String) -> Result<u32, PatternError> {
        if let Some(name) = self.take_posix_class()? {
            rust.push_str(name);
            return Ok(0);
        }
        if self.rest.starts_with('\\') {
            let escape = &mut Reader { rest: &self.rest[1..] };
            if let Some(property) = escape.take_property()? {
                rust.push_str(&property);
                self.rest = escape.rest;
                return Ok(PROPERTY_CODE_POINTS);
            }
            if let Some(class) = escape.take_perl_class() {
                rust.push_str(class);
                self.rest = escape.rest;
                return Ok(0);
            }
        }
        let range = self.take_range()?;
        spell_range(rust, &range);
        Ok(range.end() - range.start() + 1)
    }

    /// A single character or `a-z`. A minus that is last in its class is a member.
    fn take_range(&mut self) -> Result<RangeInclusive<u32>, PatternError> {
        let low = self.take_class_character()?;
        if !self.rest.starts_with('-') || self.rest.len() == 1 || self.rest.starts_with("-]") {
            return Ok(low..=low);
        }
        self.take();
        let high = self.take_class_character()?;
        if high < low { Err(syntax(BAD_RANGE)) } else { Ok(low..=high) }
    }

    fn take_class_character(&mut self) -> Result<u32, PatternError> {
        match self.take() {
            Some('\\') => self.take_escaped(),
            Some(c) => Ok(u32::from(c)),
            None => Err(syntax(OPEN_CLASS)),
        }
    }

    /// `[:alpha:]` or `[:^alpha:]`, which both engines know by the same names.
    fn take_posix_class(&mut self) -> Result<Option<&str>, PatternError> {
        let Some(end) = self.rest.strip_prefix("[:").and_then(|inner| inner.find(":]")) else {
            return Ok(None);
        };
        let (class, rest) = self.rest.split_at("[:".len() + end + ":]".len());
        let name = &class["[:".len()..class.len() - ":]".len()];
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(syntax(BAD_RANGE));
        }
        self.rest = rest;
        Ok(Some(class))
    }
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// Decimal digits without a leading zero.
fn is_count(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
}

fn repeat_count(digits: &str) -> Result<u32, PatternError> {
    digits.parse().ok().filter(|count| *count <= REPEAT_MAX).ok_or_else(|| syntax(BAD_REPEAT_COUNT))
}

/// Writes `c` so that it stands for itself everywhere.
fn spell(rust: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        rust.push(c);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(rust, r"\x{{{:X}}}", u32::from(c));
    }
}

/// Writes a range of code points as a member of a class, without the surrogates at its ends.
fn spell_range(rust: &mut String, range: &RangeInclusive<u32>) {
    let low = char::from_u32(*range.start()).unwrap_or('\u{E000}');
    let high = char::from_u32(*range.end()).unwrap_or('\u{D7FF}');
    if low > high {
        return rust.push_str(NOTHING);
    }
    spell(rust, low);
    if low < high {
        rust.push('-');
        spell(rust, high);
    }
}
