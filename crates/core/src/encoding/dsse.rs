//! DSSE's pre-authentication encoding: the bytes that a signature of an envelope or of a record covers.

/// The pre-authentication encoding of `payload` (DSSE v1, protocol.md). It includes the payload type, so a signature
/// over one type of payload is not valid for another.
pub(crate) fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
