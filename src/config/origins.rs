//! The origins whose pages may make calls: with commas between them, or `*` for all.

use std::str::FromStr;

use url::Url;

/// None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// No page may.
    #[default]
    None,
    /// Any page may.
    Any,
    /// Pages of these may, such as `https://admin.example.com`: as a browser writes them.
    These(Vec<String>),
}

impl Origins {
    /// Whether pages of this origin may, as the browser names it.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::These(origins) => origins.iter().any(|allowed| allowed == origin),
        }
    }
}

impl FromStr for Origins {
    /// Why the text is no list of origins, as the end of a sentence that begins with the setting's name.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        match entries[..] {
            [] => return Ok(Self::None),
            ["*"] => return Ok(Self::Any),
            _ => {}
        }
        let origin = |entry: &&str| {
            let url = Url::parse(entry).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let origin = url.map(|url| url.origin().ascii_serialization());
            // What is more than an origin, such as one with a path, would never be the same as what a browser says.
            origin.filter(|origin| origin.eq_ignore_ascii_case(entry)).ok_or_else(|| {
                format!(
                    "must be * or origins with commas between them, such as https://admin.example.com, \
                     found {entry:?}"
                )
            })
        };
        entries.iter().map(origin).collect::<Result<_, _>>().map(Self::These)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_origins_are_allowed_and_no_other() {
        let origins: Origins = "https://a.example, HTTP://localhost:3000,".parse().unwrap();
        for good in ["https://a.example", "http://localhost:3000"] {
            assert!(origins.allow(good), "{good}");
        }
        for bad in ["http://a.example", "https://a.example:8443", "https://b.a.example", "null", "*", ""] {
            assert!(!origins.allow(bad), "{bad}");
        }
        assert!("*".parse::<Origins>().unwrap().allow("null"));
        assert!(!"".parse::<Origins>().unwrap().allow("https://a.example"));
    }

    #[test]
    fn what_is_no_origin_is_refused_and_named() {
        for entry in
            ["a.example", "https://a.example/", "https://a.example/x", "https://", "ftp://a.example", "*"]
        {
            let error = format!("https://b.example,{entry}").parse::<Origins>().unwrap_err();
            assert!(error.ends_with(&format!("found {entry:?}")), "{error}");
        }
        assert!("https://u:p@a.example".parse::<Origins>().is_err());
        assert!("https://a.example:443".parse::<Origins>().is_err(), "no browser names the usual port");
    }
}
