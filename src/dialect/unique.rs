//! JSON of which no object has a member twice, at any depth. Of two members serde takes the last and others the first, so
//! whoever checks such a text and whoever acts on it may see different things.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Proof that a text is such JSON. What it says is for others to read.
#[derive(Debug)]
pub struct Unique;

impl<'de> Deserialize<'de> for Unique {
    /// # Errors
    /// The first member that is there twice, by its name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E: Error>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        while entries.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                // Whoever calls chose the name; an answer is one line.
                let name = name.escape_debug().to_string();
                return Err(A::Error::custom(format_args!("{name:.80} is there twice")));
            }
            members.next_value::<Unique>()?;
            names.insert(name);
        }
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        serde_json::from_str::<Unique>(text).err().map(|error| error.to_string())
    }

    #[test]
    fn a_member_that_is_there_twice_is_named_at_every_depth() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"b":[0,{"a":{},"\u0061":-1.5}]}"#, r#"{"b":{"a":null,"c":"","a":true}}"#]
        {
            assert!(fault(text).is_some_and(|fault| fault.starts_with("a is there twice")), "{text}");
        }
        assert!(fault("{\"\\n\":1,\"\\n\":2}").is_some_and(|fault| fault.starts_with("\\n is")));
        assert_eq!(fault(r#"{"a":{"a":[-1,2,0.5,"x",true,null]},"b":{"a":1}}"#), None);
    }
}
