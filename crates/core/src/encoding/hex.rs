//! Lower-case hexadecimal text of 32-byte digests: of specs, keys, images, bundles, records and names.

/// Writes a digest as 64 lower-case hexadecimal digits.
#[must_use]
pub fn encode(digest: &[u8; 32]) -> String {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = [digit(byte >> 4), digit(byte & 0x0f)];
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads exactly 64 lower-case hexadecimal digits. Upper case is refused, so that a digest has one spelling and two
/// texts are equal exactly if their digests are.
#[must_use]
pub fn decode(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let mut digest = [0; 32];
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, &[high, low]) in digest.iter_mut().zip(pairs) {
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(digest)
}

/// Whether a text is `sha256:` followed by 64 lower-case hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").and_then(decode).is_some()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 8 + 7).unwrap_or(0));
        let text = encode(&digest);
        assert_eq!(decode(&text), Some(digest));
        assert_eq!(decode(&text.to_uppercase()), None);
        assert_eq!(decode(&text[..62]), None);
        assert_eq!(decode(&text[..63]), None);
        assert_eq!(decode(&format!("{text}00")), None);
        assert_eq!(decode(&text.replace('7', "é")), None);
    }
}
