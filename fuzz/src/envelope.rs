//! An envelope that a tenant attaches.

use writgate_core::approval::Envelope;

use crate::world::{World, outcome};

/// The decision on a Deployment with this envelope. The fuzzer has no key, so only the signed payload is admitted.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    let world = World::shared();
    let decision = world.decide(&world.approved_by(text), "production");
    let envelope = Envelope::parse(text);
    if let Ok(envelope) = &envelope {
        assert_eq!(
            Envelope::parse(&envelope.to_json()).as_ref(),
            Ok(envelope),
            "the written envelope differs from the parsed one"
        );
    }
    if decision.allowed() {
        let payload = envelope.expect("an envelope was admitted").payload().to_vec();
        assert_eq!(payload, world.payload(), "a payload without a valid signature was admitted");
    }
    outcome(&decision)
}
