"""Checks every test vector: `python -m writgate_v1 DOCS_SPEC`. Exits with 1 if one differs."""

import json
import sys
from pathlib import Path

from . import approval, record, spec_hash
from .ed25519 import PublicKey
from .encoding import Refused, parse_members


def check_approval(case):
    expect = case["expect"]
    if "publicKey" in case:
        try:
            return {"keyid": PublicKey(case["publicKey"]).id} == expect
        except Refused:
            return expect == {"refused": True}
    keys = [PublicKey(pem) for pem in case["keys"]]
    try:
        envelope = approval.Envelope(case["envelope"])
        signers = envelope.verify(keys, [32])
        statement = approval.Statement(envelope.payload)
    except approval.Failed as failed:
        found = {"reason": failed.reason, **({"stage": failed.stage} if failed.stage else {})}
        return found == expect
    subjects = [{"name": name, "specHash": f"sha256:{digest}"} for name, digest in statement.subjects]
    found = {"keyids": [key.id for key in signers], "approval": {"subjects": subjects, "predicate": statement.predicate}}
    return found == expect


def check_spec_hash(case, text):
    expect = case["expect"]
    try:
        if "text" in case:
            api_version, kind, spec = "apps/v1", "Deployment", spec_hash.parse_spec(case["text"])
        elif "admitted" in case:
            # The object as it is written, since numbers have more than one spelling.
            admitted = spec_hash.get(parse_members(text), "admitted")
            api_version, kind = case["admitted"]["apiVersion"], case["admitted"]["kind"]
            spec = spec_hash.get(admitted, "spec")
        else:
            return None
        hashed = spec_hash.hashed_bytes(api_version, kind, spec)
    except Refused:
        return expect == {"refused": True}
    found = {"canonical": hashed.decode(), "specHash": spec_hash.spec_hash(api_version, kind, spec)}
    return all(found[name] == value for name, value in expect.items() if name in found) and "refused" not in expect


def check_record(case):
    verifier = record.Verifier(case["keys"], case["checkpoints"])
    for line in case["lines"]:
        verifier.add(line)
    findings, chains = verifier.finish()
    in_order = lambda found: sorted(json.dumps(finding, sort_keys=True) for finding in found)
    expected = case["expect"]
    return in_order(findings) == in_order(expected["findings"]) and in_order(chains) == in_order(expected["chains"])


def main(folder):
    passed, failed, skipped = 0, 0, 0
    for suite in ("approval-v1", "spec-hash-v1", "record-v1"):
        for path in sorted(Path(folder, suite).glob("*.json")):
            text = path.read_text()
            case = json.loads(text)
            if "expect" not in case:
                continue
            if suite == "approval-v1":
                agrees = check_approval(case)
            elif suite == "spec-hash-v1":
                agrees = check_spec_hash(case, text)
            else:
                agrees = check_record(case)
            if agrees is None:
                skipped += 1
            elif agrees:
                passed += 1
            else:
                failed += 1
                print(f"{suite}/{path.name}: {case['description']}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
