//! Files of the page as they are sent to those who take them compressed.

use std::io::Write;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use flate2::Compression;
use flate2::write::GzEncoder;

/// The coding, as it is called in headers.
pub const NAME: &str = "gzip";

/// Compresses, as well as can be.
pub fn pack(text: &str) -> Vec<u8> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::best());
    let packed = packing.write_all(text.as_bytes()).and_then(|()| packing.finish());
    packed.expect("memory takes what is written to it")
}

/// Whether who asks wants it, and nothing more than it (RFC 9110 section 12.5.3).
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let gzip = weight(headers, NAME).or_else(|| weight(headers, "*")).unwrap_or(0.0);
    gzip > 0.0 && gzip >= weight(headers, "identity").unwrap_or(0.0)
}

/// How much a coding is wanted, if it is named. What cannot be read is not wanted.
fn weight(headers: &HeaderMap, coding: &str) -> Option<f32> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut offers = values.flat_map(|value| value.split(',')).map(|offer| match offer.split_once(';') {
        None => (offer.trim(), 1.0),
        Some((name, parameter)) => {
            let weight = parameter.trim().to_ascii_lowercase().strip_prefix("q=").map(str::parse);
            (name.trim(), weight.and_then(Result::ok).unwrap_or(0.0))
        }
    });
    offers.find_map(|(name, weight)| name.eq_ignore_ascii_case(coding).then_some(weight))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_packed_is_smaller_and_comes_out_again() {
        let text = "abc".repeat(1000);
        let packed = pack(&text);
        let mut unpacked = String::new();
        GzDecoder::new(&*packed).read_to_string(&mut unpacked).unwrap();
        assert_eq!((unpacked, packed.len() < 100), (text, true));
    }

    #[test]
    fn it_is_wanted_where_nothing_is_wanted_more() {
        for (accepted, is_so) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP ; Q=0.2", true),
            ("*", true),
            ("identity;q=0.5, *;q=0.5", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*;q=0", false),
            ("identity, gzip;q=0.5", false),
            ("gzip;q=much", false),
            ("gzip;level=9", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())]);
            assert_eq!(is_wanted(&headers), is_so, "{accepted}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
