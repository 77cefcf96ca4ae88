//! One line of the webhook's log, as `audit --verify` reads it.

use std::sync::LazyLock;

use serde_json::Value;
use writgate_core::{
    approval::PublicKey,
    record::{ChainVerifier, LineOutcome, LogLine, VerifiedLine},
};

use crate::review::is_written_back;

/// The only line that its key signed.
const SIGNED: &[u8] = include_bytes!("../seeds/record/00-record.json");

static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=\n-----END PUBLIC KEY-----\n";
    PublicKey::from_pem(pem).expect("a key")
});

/// What `audit --verify` makes of the line.
pub(crate) fn run(text: &[u8]) -> String {
    let line = LogLine::read(text);
    if let LogLine::Claimed(claimed) = &line {
        let value = serde_json::from_slice::<Value>(text).expect("what claims to be a record is JSON");
        let again = value.to_string();
        match LogLine::read(again.as_bytes()) {
            LogLine::Claimed(again) => {
                assert_eq!(again.claims(), claimed.claims());
                assert!(
                    !is_written_back(&value) || again.record() == claimed.clone().record(),
                    "the record depends on its spelling"
                );
            }
            _ => assert!(!is_written_back(&value), "in another spelling, the line is not a record"),
        }
    }
    match verified(line.clone()) {
        LineOutcome::NotARecord => match line {
            LogLine::NotARecord => "not a record".to_owned(),
            LogLine::Claimed(claimed) => claimed.record().expect_err("a record of this version is verified"),
            LogLine::Unreadable(why) => panic!("an unreadable line is not a finding: {why}"),
        },
        LineOutcome::Found(finding) => finding.as_str().to_owned(),
        LineOutcome::Waiting(_) => "not sealed".to_owned(),
        LineOutcome::Verified(found @ VerifiedLine::Record(_)) => {
            let LineOutcome::Verified(signed) = verified(LogLine::read(SIGNED)) else { panic!("it is signed") };
            assert_eq!(found, signed, "nobody signed this record");
            "verified".to_owned()
        }
        other => panic!("nobody signed this line: {other:?}"),
    }
}

fn verified(line: LogLine<'_>) -> LineOutcome {
    let mut verifier = ChainVerifier::new([KEY.clone()]);
    verifier.take(verifier.check(line))
}
