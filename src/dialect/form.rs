//! Request parameters, found the way Go's `FormValue` finds them (specification, section 1.6).
//!
//! The sources are asked in a fixed order: urlencoded body, query, multipart body, JSON body; in each, the first
//! parameter of a name counts. Text that is not UTF-8 is refused when somebody asks for it, and never reaches a client
//! with replacement characters in it; half of a surrogate pair in JSON is U+FFFD ([`json::Text`]). How large a body may
//! be is not decided here; how many parameters it may hold is.

use std::convert::Infallible;
use std::fmt;
use std::string::FromUtf8Error;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use multer::Multipart;
use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::json;

/// Parameters of one request, and parts of one multipart body, files included. The calls have five at most; the
/// limit keeps a body of tiny ones from costing many times its size in memory.
pub const FIELDS_MAX: usize = 1000;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";
const JSON: &str = "application/json";

/// The parameters of one request.
#[derive(Debug)]
pub struct Form {
    /// In the order in which they are searched.
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    value: Result<String, FromUtf8Error>,
}

impl Form {
    /// Gathers the parameters of a request.
    ///
    /// `content_type` is the header as sent. `method_has_body` says that the method is POST, PUT or PATCH: for others,
    /// Go reads no urlencoded body, and we no JSON, but both read a multipart body. A body of any other type is not
    /// looked at; nor is a broken JSON body, as the original never read JSON.
    ///
    /// # Errors
    /// [`FormError::Multipart`], [`FormError::TooManyFields`].
    pub fn read(
        method_has_body: bool,
        query: Option<&str>,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Form, FormError> {
        let content_type = content_type.unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is = |expected: &str| !body.is_empty() && media_type.eq_ignore_ascii_case(expected);

        let mut form = Form { fields: Vec::new() };
        if method_has_body && is(URLENCODED) {
            form.add_urlencoded(body)?;
        }
        form.add_urlencoded(query.unwrap_or_default().as_bytes())?;
        if is(MULTIPART) {
            form.add_multipart(content_type, body)?;
        }
        if method_has_body && is(JSON) {
            form.add_json(body)?;
        }
        Ok(form)
    }

    /// The first value of this name, which may be empty.
    ///
    /// # Errors
    /// [`FormError::NotUtf8`]: absent and unreadable must not look alike, or a push to one user could become a push
    /// to all.
    pub fn get(&self, name: &str) -> Result<Option<&str>, FormError> {
        let Some(field) = self.fields.iter().find(|field| field.name == name) else { return Ok(None) };
        match &field.value {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(FormError::NotUtf8(name.to_owned())),
        }
    }

    /// The first value of this name.
    ///
    /// # Errors
    /// [`FormError::Missing`] if it is absent or empty, [`FormError::NotUtf8`].
    pub fn required(&self, name: &'static str) -> Result<&str, FormError> {
        match self.get(name)? {
            None | Some("") => Err(FormError::Missing(name)),
            Some(value) => Ok(value),
        }
    }

    /// Pairs with a broken percent escape are skipped. `;` separates nothing: it is part of the value.
    fn add_urlencoded(&mut self, pairs: &[u8]) -> Result<(), FormError> {
        for pair in pairs.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut next_half = || unescape(halves.next().unwrap_or_default());
            if let (Some(name), Some(value)) = (next_half(), next_half()) {
                self.add(name, value)?;
            }
        }
        Ok(())
    }

    /// Files (parts with a file name) are no parameters.
    fn add_multipart(&mut self, content_type: &str, body: &[u8]) -> Result<(), FormError> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| FormError::Multipart)?;
        let whole_body = stream::iter([Ok::<_, Infallible>(Bytes::copy_from_slice(body))]);
        let mut multipart = Multipart::new(whole_body, boundary);
        while let Some(part) = at_once(multipart.next_field())? {
            if part.index() >= FIELDS_MAX {
                return Err(FormError::TooManyFields);
            }
            let is_file = part.file_name().is_some_and(|file| !file.is_empty());
            let name = part.name().unwrap_or_default().to_owned();
            if !is_file && !name.is_empty() {
                self.add(name.into_bytes(), at_once(part.bytes())?.into())?;
            }
        }
        Ok(())
    }

    fn add_json(&mut self, body: &[u8]) -> Result<(), FormError> {
        let Members(members) = serde_json::from_slice(body).unwrap_or_default();
        for (name, value) in members {
            self.add(name.into_bytes(), value.into_bytes())?;
        }
        Ok(())
    }

    /// A name that is not UTF-8 is nobody's: such a field can never be asked for.
    fn add(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), FormError> {
        if self.fields.len() == FIELDS_MAX {
            return Err(FormError::TooManyFields);
        }
        if let Ok(name) = String::from_utf8(name) {
            self.fields.push(Field { name, value: String::from_utf8(value) });
        }
        Ok(())
    }
}

/// Decodes one half of a pair; `None` if a percent sign is not followed by two hexadecimal digits.
fn unescape(half: &[u8]) -> Option<Vec<u8>> {
    let is_escape =
        |tail: &[u8]| matches!(tail, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    let is_whole = half.split(|byte| *byte == b'%').skip(1).all(is_escape);
    let spaced: Vec<u8> = half.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    is_whole.then(|| percent_decode(&spaced).collect())
}

/// The multipart reader is made for bodies that are still arriving. Ours is complete, so its futures never wait.
fn at_once<T>(future: impl Future<Output = multer::Result<T>>) -> Result<T, FormError> {
    future.now_or_never().and_then(Result::ok).ok_or(FormError::Multipart)
}

/// The non-empty string members of a JSON object, at most one more than [`FIELDS_MAX`]. Values of other types are
/// stepped over without being built in memory.
#[derive(Default)]
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = object.next_entry::<json::Text, &RawValue>()? {
            match json::text(value.get()) {
                Some(text) if !text.is_empty() && members.len() <= FIELDS_MAX => members.push((name.0, text)),
                _ => {}
            }
        }
        Ok(Members(members))
    }
}

/// What is wrong with a request's parameters: the sender's fault in each case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormError {
    /// A required parameter is absent or empty.
    Missing(&'static str),
    /// The value of this parameter is not UTF-8 (specification, D28).
    NotUtf8(String),
    /// The multipart body does not have that form, or its header names no boundary.
    Multipart,
    /// More than [`FIELDS_MAX`].
    TooManyFields,
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormError::Missing(name) => write!(f, "{name} empty"),
            FormError::NotUtf8(name) => write!(f, "{name} is not UTF-8"),
            FormError::Multipart => f.write_str("malformed multipart body"),
            FormError::TooManyFields => write!(f, "more than {FIELDS_MAX} parameters"),
        }
    }
}

impl std::error::Error for FormError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(query: &str, content_type: &str, body: &[u8]) -> Form {
        Form::read(true, Some(query), Some(content_type), body).expect("a readable form")
    }

    fn urlencoded(body: &str) -> Form {
        form("", URLENCODED, body.as_bytes())
    }

    /// A multipart body from the lines of its parts.
    fn multipart(query: &str, lines: &[&str]) -> Result<Form, FormError> {
        let body = lines.join("\r\n");
        Form::read(true, Some(query), Some("multipart/form-data; boundary=b"), body.as_bytes())
    }

    fn get<'f>(form: &'f Form, name: &str) -> Option<&'f str> {
        form.get(name).expect("a UTF-8 value")
    }

    const PART_A: &str = "Content-Disposition: form-data; name=\"a\"";

    #[test]
    fn gu_034_every_source_is_read() {
        let forms = [
            urlencoded("a=1"),
            form("a=1", "", b""),
            multipart("", &["--b", PART_A, "", "1", "--b--", ""]).unwrap(),
            form("", "application/json; charset=utf-8", br#"{"a":"1"}"#),
        ];
        for form in forms {
            assert_eq!(form.required("a"), Ok("1"));
        }
    }

    #[test]
    fn gu_035_urlencoded_body_beats_query_beats_other_bodies() {
        assert_eq!(get(&form("a=query", URLENCODED, b"a=body"), "a"), Some("body"));
        let lines = ["--b", PART_A, "", "body", "--b--"];
        assert_eq!(get(&multipart("a=query", &lines).unwrap(), "a"), Some("query"));
        assert_eq!(get(&form("a=query", JSON, br#"{"a":"body"}"#), "a"), Some("query"));
    }

    #[test]
    fn gu_036_the_first_of_repeated_names_counts_even_if_empty() {
        assert_eq!(get(&urlencoded("a=1&a=2"), "a"), Some("1"));
        let form = form("a=query", URLENCODED, b"a=&a=2");
        assert_eq!(get(&form, "a"), Some(""));
        assert_eq!(form.required("a"), Err(FormError::Missing("a")));
    }

    #[test]
    fn urlencoded_pairs_are_read_as_go_reads_them() {
        let form = urlencoded("a=x+y%2B%26%3d&&b&=c&d=1=2;e=3&%66=%C3%A9");
        let found = ["a", "b", "", "d", "e", "f"].map(|name| get(&form, name));
        assert_eq!(found, [Some("x y+&="), Some(""), Some("c"), Some("1=2;e=3"), None, Some("é")]);
    }

    #[test]
    fn a_pair_with_a_broken_escape_is_skipped() {
        let form = urlencoded("a=%&a=%4&a=%zz&a%=1&a=%4z1&a=%%341&a=last");
        assert_eq!(get(&form, "a"), Some("last"));
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_refused_when_asked_for() {
        let form = urlencoded("a=%FF&b=ok&a=later&%FF=x");
        assert_eq!(form.get("a"), Err(FormError::NotUtf8("a".into())));
        assert_eq!(form.required("a"), Err(FormError::NotUtf8("a".into())));
        assert_eq!(get(&form, "b"), Some("ok"));
    }

    #[test]
    fn a_body_of_another_type_or_method_is_not_read() {
        for content_type in ["", "text/plain", "application/x-www-form-urlencodedx"] {
            assert_eq!(get(&form("b=2", content_type, b"a=1"), "a"), None, "{content_type}");
        }
        let form = Form::read(false, Some("b=2"), Some(URLENCODED), b"a=1").unwrap();
        assert_eq!((get(&form, "a"), get(&form, "b")), (None, Some("2")));
    }

    #[test]
    fn content_types_are_compared_without_case_and_parameters() {
        let content_type = "Application/X-WWW-Form-Urlencoded ; charset=UTF-8";
        assert_eq!(get(&form("", content_type, b"a=1"), "a"), Some("1"));
    }

    #[test]
    fn json_members_that_are_empty_or_no_strings_are_missing() {
        let form = form("", JSON, r#"{"a":1,"b":"","c":[{"d":"x"}],"b":"later","é":"\u00e9"}"#.as_bytes());
        let found = ["a", "b", "c", "d", "é"].map(|name| get(&form, name));
        assert_eq!(found, [None, Some("later"), None, None, Some("é")]);
    }

    #[test]
    fn json_that_is_cut_within_a_character_is_not_missing() {
        let form = form("", JSON, br#"{"\ud83d":"x","a":"b\ud83d"}"#);
        assert_eq!((get(&form, "a"), get(&form, "\u{fffd}")), (Some("b\u{fffd}"), Some("x")));
    }

    #[test]
    fn broken_json_has_no_fields() {
        for body in [r#"{"a":"1""#, r#"["a","1"]"#, r#"{"a":"1"} x"#, "\"a\"", "a=1"] {
            assert_eq!(get(&form("", JSON, body.as_bytes()), "a"), None, "{body}");
        }
    }

    #[test]
    fn multipart_files_and_nameless_parts_are_no_parameters() {
        let file = "Content-Disposition: form-data; name=\"a\"; filename=\"f\"";
        let nameless = "Content-Disposition: form-data";
        let lines =
            ["--b", file, "", "1", "--b", nameless, "", "2", "--b", PART_A, "", "3\r\n4", "--b--", ""];
        assert_eq!(get(&multipart("", &lines).unwrap(), "a"), Some("3\r\n4"));
    }

    #[test]
    fn multipart_values_are_taken_as_bytes() {
        let body = [b"--b\r\n", PART_A.as_bytes(), b"\r\n\r\n\xFF\r\n--b--\r\n"].concat();
        let form = form("", "multipart/form-data; boundary=b", &body);
        assert_eq!(form.get("a"), Err(FormError::NotUtf8("a".into())));
    }

    #[test]
    fn malformed_multipart_is_refused() {
        for lines in [&["a=1"][..], &["--b", PART_A, "", "1"], &["--b", "nonsense", "", "1", "--b--"]] {
            assert_eq!(multipart("a=1", lines).unwrap_err(), FormError::Multipart, "{lines:?}");
        }
        let no_boundary = Form::read(true, None, Some(MULTIPART), b"--b--");
        assert_eq!(no_boundary.unwrap_err(), FormError::Multipart);
    }

    #[test]
    fn an_empty_body_has_no_fields_whatever_its_type() {
        assert_eq!(get(&multipart("a=1", &[]).unwrap(), "a"), Some("1"));
    }

    #[test]
    fn the_number_of_fields_is_limited_in_every_source() {
        let json = |count: usize| {
            let members: Vec<String> = (0..count).map(|i| format!(r#""{i}":"x""#)).collect();
            format!("{{{}}}", members.join(","))
        };
        let parts = |count: usize| format!("--b\r\n{PART_A}\r\n\r\n\r\n").repeat(count) + "--b--";
        let pairs = |count: usize| "a&".repeat(count);
        let sources: [(&str, &dyn Fn(usize) -> String); 3] =
            [(URLENCODED, &pairs), (JSON, &json), ("multipart/form-data; boundary=b", &parts)];
        for (content_type, body) in sources {
            let read = |count| Form::read(true, None, Some(content_type), body(count).as_bytes());
            assert_eq!(read(FIELDS_MAX).map(|form| form.fields.len()), Ok(FIELDS_MAX), "{content_type}");
            assert_eq!(read(FIELDS_MAX + 1).unwrap_err(), FormError::TooManyFields, "{content_type}");
        }
    }
}
