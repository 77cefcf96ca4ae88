//! Lower-case hexadecimal text of 32-byte digests: of specs, keys, images, bundles, records and names.

/// Writes a digest as 64 lower-case hexadecimal digits.
#[must_use]
pub fn encode(digest: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text
}

/// Reads exactly 64 lower-case hexadecimal digits. Upper case is refused, so that a digest has one spelling and two
/// texts are equal exactly if their digests are.
#[must_use]
pub fn decode(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?)).collect();
    bytes?.try_into().ok()
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
