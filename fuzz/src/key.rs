//! A public key in PEM, as in a Reviewers document.

use writgate_core::approval::PublicKey;

/// `a key`, or why the text is not a key.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    match PublicKey::from_pem(text) {
        Ok(key) => {
            assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()).as_ref(), Ok(&key));
            assert_eq!(key.id().to_string().parse(), Ok(key.id()));
            // Under a weak key this signature is valid for nearly every message.
            let mut nothing = [0; 64];
            nothing[0] = 1;
            assert!(!key.verify_strict(b"whatever", &nothing));
            "a key".to_owned()
        }
        Err(error) => error.to_string(),
    }
}
