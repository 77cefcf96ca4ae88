"""DSSE envelopes by securesystemslib, for crates/cli/tests/plugin/interop.rs.

dsse.py verify ENVELOPE PUBLIC_PEM KEYID   exits with 0 if that key has signed the envelope, with 1 if not
dsse.py sign PAYLOAD ENVELOPE PUBLIC_PEM   signs a payload with a fresh key, whose id is computed as this library does
"""

import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def verify(envelope, public_pem, keyid):
    envelope = Envelope.from_dict(json.loads(Path(envelope).read_text()))
    assert envelope.payload_type == PAYLOAD_TYPE, envelope.payload_type
    key = SSlibKey.from_crypto(load_pem_public_key(Path(public_pem).read_bytes()), keyid)
    try:
        envelope.verify([key], 1)
    except VerificationError as error:
        sys.exit(str(error))


def sign(payload, envelope, public_pem):
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private)
    signed = Envelope(Path(payload).read_bytes(), PAYLOAD_TYPE, {})
    signed.sign(signer)
    Path(envelope).write_text(json.dumps(signed.to_dict()))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    Path(public_pem).write_bytes(pem)


if __name__ == "__main__":
    {"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
