//! The mark at the head of what is published: when it was sent, by which lane, and the how-manyth of that lane.
//!
//! A lane is a sequence that has an order: what one connection publishes, one call after the other. The mark has a
//! fixed length and needs no escaping in JSON, so a receiver finds it where it was in the message before.

/// Begins a mark.
const SIGN: u8 = b'@';
const TIME_DIGITS: usize = 19;
const LANE_DIGITS: usize = 3;
const NUMBER_DIGITS: usize = 8;

/// The length of a mark: less data cannot be published.
pub const STAMP_BYTES: usize = 1 + TIME_DIGITS + LANE_DIGITS + NUMBER_DIGITS;
/// How many lanes there may be.
pub const LANES_MAX: usize = 1000;
/// How many messages a lane may have.
pub const NUMBERS_MAX: u32 = 100_000_000;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// By [`super::clock::now_ns`].
    pub sent_ns: u64,
    /// Less than [`LANES_MAX`].
    pub lane: usize,
    /// From 0, less than [`NUMBERS_MAX`].
    pub number: u32,
}

impl Stamp {
    /// The mark, filled up to `bytes` bytes.
    pub fn data(&self, bytes: usize) -> String {
        let mut data = format!("@{:019}{:03}{:08}", self.sent_ns, self.lane, self.number);
        data.extend(std::iter::repeat_n('x', bytes.saturating_sub(STAMP_BYTES)));
        data
    }

    /// Finds the mark in a message. `at` is where it was last time, and is set to where it is.
    pub fn find(message: &[u8], at: &mut usize) -> Option<Stamp> {
        if let Some(stamp) = Stamp::read(message, *at) {
            return Some(stamp);
        }
        let signs = message.iter().enumerate().filter(|(_, byte)| **byte == SIGN);
        signs.map(|(place, _)| place).find_map(|place| {
            let stamp = Stamp::read(message, place)?;
            *at = place;
            Some(stamp)
        })
    }

    fn read(message: &[u8], at: usize) -> Option<Stamp> {
        let (sign, digits) = message.get(at..at.checked_add(STAMP_BYTES)?)?.split_first()?;
        if *sign != SIGN {
            return None;
        }
        let (time, digits) = digits.split_at(TIME_DIGITS);
        let (lane, number) = digits.split_at(LANE_DIGITS);
        Some(Stamp {
            sent_ns: decimal(time)?,
            lane: decimal(lane)? as usize,
            number: u32::try_from(decimal(number)?).ok()?,
        })
    }
}

/// At most 19 digits, so it always fits.
fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { sent_ns: 123_456_789_012, lane: 7, number: 42 };

    #[test]
    fn a_stamp_is_found_where_it_was_and_where_it_moved_to() {
        let message = |head: &str| format!("{head}{}\"}}", STAMP.data(200)).into_bytes();
        let mut at = 0;
        assert_eq!(Stamp::find(&message(r#"{"data":""#), &mut at), Some(STAMP));
        assert_eq!(at, 9);
        assert_eq!(Stamp::find(&message(r#"{"a":"me@home","data":""#), &mut at), Some(STAMP));
        assert_eq!(at, 23);
    }

    #[test]
    fn data_has_the_length_asked_for_and_never_less_than_a_stamp() {
        assert_eq!(STAMP.data(200).len(), 200);
        assert_eq!(STAMP.data(0).len(), STAMP_BYTES);
        let last = Stamp { sent_ns: u64::MAX / 10, lane: LANES_MAX - 1, number: NUMBERS_MAX - 1 };
        assert_eq!(Stamp::find(last.data(0).as_bytes(), &mut 0), Some(last));
    }

    #[test]
    fn what_is_no_stamp_is_not_taken_for_one() {
        for message in ["", "@", "@123", "@00000000000000000000000000000"] {
            assert_eq!(Stamp::find(message.as_bytes(), &mut 0), None, "{message}");
        }
        assert_eq!(Stamp::find(b"@x00000000000000000000000000000", &mut usize::MAX.clone()), None);
    }
}
