//! The mask over every client frame: payload XOR a repeated key of four bytes (RFC 6455 section 5.3).

/// Masks or unmasks `payload` in place; the two are the same. Leaves `mask` turned to the byte that comes next,
/// so that a payload may be given piece by piece.
pub(super) fn apply(mask: &mut [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = *mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
    mask.rotate_left(payload.len() % 4);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_masked_like_the_whole(
            key: [u8; 4],
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            cut: prop::sample::Index,
        ) {
            let expected: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let mut masked = payload.clone();
            let (head, tail) = masked.split_at_mut(cut.index(payload.len() + 1));
            let mut mask = key;
            apply(&mut mask, head);
            apply(&mut mask, tail);
            prop_assert_eq!(masked, expected);
        }
    }
}
