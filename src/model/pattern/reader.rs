//! The constructs of Go's regular expressions, taken one at a time from the text and spelled for the engine.
//!
//! What is spelled here means the same to the engine in every place and under every flag but `i`. Which constructs
//! may follow which is not decided here.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::RangeInclusive;

use super::PatternError;

/// For how many code points a Unicode property counts where their number is limited: more than Unicode has letters.
pub(super) const PROPERTY_CODE_POINTS: u32 = 1 << 18;

/// The largest count of one repetition.
const REPEAT_MAX: u32 = 1000;

/// A class without members. Stands for a surrogate: Go accepts `\x{D800}`, but no UTF-8 text contains it.
pub(super) const NOTHING: &str = r"\P{any}";

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_RANGE: &str = "invalid character class range";
const BAD_GROUP: &str = "invalid or unsupported Perl syntax";
const BAD_REPEAT_COUNT: &str = "invalid repeat count";
const OPEN_CLASS: &str = "missing closing ]";

/// `U` (greediness) is read but changes no match.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) dot_matches_newline: bool,
}

/// The part of the pattern not read yet. The readers of whole constructs expect their introduction (`(?`, `\`) to
/// have been taken.
pub(super) struct Reader<'s> {
    pub(super) rest: &'s str,
}

impl<'s> Reader<'s> {
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    pub(super) fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// After `(?<`: the name, which is checked and forgotten.
    pub(super) fn take_group_name(&mut self) -> Result<(), PatternError> {
        let (name, rest) = self.rest.split_once('>').ok_or_else(|| syntax("invalid named capture"))?;
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
            return Err(syntax("invalid named capture"));
        }
        self.rest = rest;
        Ok(())
    }

    /// After `(?`: flags like `i-s`, and whether they open a group (`:`) or count for the rest of this one (`)`).
    pub(super) fn take_flags(&mut self, mut flags: Flags) -> Result<(Flags, bool), PatternError> {
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
    pub(super) fn take_counts(&mut self) -> Result<Option<String>, PatternError> {
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
    pub(super) fn take_property(&mut self) -> Result<Option<String>, PatternError> {
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
    pub(super) fn take_perl_class(&mut self) -> Option<&'static str> {
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
    pub(super) fn take_escaped(&mut self) -> Result<u32, PatternError> {
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
    pub(super) fn take_class_member(&mut self, rust: &mut String) -> Result<u32, PatternError> {
        if let Some(set) = self.take_named_set()? {
            rust.push_str(&set);
            return Ok(code_points_max(&set));
        }
        let range = self.take_range()?;
        spell_range(rust, &range);
        Ok(range.end() - range.start() + 1)
    }

    /// Inside a class: `[:alpha:]`, `\pL` or `\d`, if it is one.
    fn take_named_set(&mut self) -> Result<Option<Cow<'s, str>>, PatternError> {
        if let Some(class) = self.take_posix_class()? {
            return Ok(Some(Cow::Borrowed(class)));
        }
        let before = self.rest;
        if !self.skip(r"\") {
            return Ok(None);
        }
        if let Some(property) = self.take_property()? {
            return Ok(Some(Cow::Owned(property)));
        }
        if let Some(class) = self.take_perl_class() {
            return Ok(Some(Cow::Borrowed(class)));
        }
        self.rest = before;
        Ok(None)
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
    fn take_posix_class(&mut self) -> Result<Option<&'s str>, PatternError> {
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

/// At most this many code points are in a set, as written for the engine: what is negated may be nearly everything,
/// and only properties reach beyond ASCII otherwise.
fn code_points_max(set: &str) -> u32 {
    match set {
        _ if [r"\P", "[^", "[:^"].iter().any(|negated| set.starts_with(negated)) => u32::from(char::MAX) + 1,
        _ if set.starts_with('\\') => PROPERTY_CODE_POINTS,
        _ => 0x80,
    }
}

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
pub(super) fn spell(rust: &mut String, c: char) {
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

pub(super) fn syntax(reason: &str) -> PatternError {
    PatternError::Syntax(reason.to_owned())
}
