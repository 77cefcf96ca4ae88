//! An envelope, as a tenant can attach one.

use writgate_core::approval::Envelope;

use crate::world::{World, outcome};

/// The decision on a Deployment that carries it. No fuzzer has the key, so only what was signed is ever admitted.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    let world = World::shared();
    let decision = world.judge(&world.approved_by(text), "production");
    let envelope = Envelope::parse(text);
    if let Ok(envelope) = &envelope {
        assert_eq!(Envelope::parse(&envelope.to_json()).as_ref(), Ok(envelope), "written is not what was read");
    }
    if decision.allowed() {
        let payload = envelope.expect("an envelope was admitted").payload().to_vec();
        assert_eq!(payload, world.payload(), "a payload that nobody signed was admitted");
    }
    outcome(&decision)
}
