"""Checks every test vector: `python -m writgate_v1 DOCS_SPEC`. Exits with 1 if one differs."""

import json
import sys
from datetime import datetime
from pathlib import Path

from . import approval, decision, manifest, record, spec_hash
from .ed25519 import PublicKey
from .encoding import Refused, parse_members, sha256


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


def hashes_of(case, text, shapes):
    """The hashed bytes of the manifest, of the admitted object and of the text, each if the case has it."""
    if "text" in case:
        yield spec_hash.hashed_bytes("apps/v1", "Deployment", spec_hash.parse_spec(case["text"]))
    if "admitted" in case:
        # The object's text is kept, since numbers have more than one spelling.
        spec = spec_hash.get(spec_hash.get(parse_members(text), "admitted"), "spec")
        yield spec_hash.hashed_bytes(case["admitted"]["apiVersion"], case["admitted"]["kind"], spec)
    if "manifest" in case:
        [value] = manifest.read(case["manifest"])
        api_version, kind = value.get("apiVersion"), value.get("kind")
        if (api_version, kind) not in spec_hash.WORKLOADS:
            raise Refused("not a workload")
        spec = manifest.admitted_spec(shapes, api_version, kind, value.get("spec"))
        yield spec_hash.hashed_bytes(api_version, kind, manifest.with_members(spec))


def check_spec_hash(case, text, shapes):
    expect = case["expect"]
    try:
        hashed = list(hashes_of(case, text, shapes))
    except Refused:
        return expect == {"refused": True}
    found = [{"canonical": bytes_.decode(), "specHash": f"sha256:{sha256(bytes_)}"} for bytes_ in hashed]
    return all(all(one.get(name) == value for name, value in expect.items()) for one in found) and bool(found)


def check_record(case):
    verifier = record.Verifier(case["keys"], case["checkpoints"])
    for line in case["lines"]:
        verifier.add(line)
    findings, chains = verifier.finish()
    in_order = lambda found: sorted(json.dumps(finding, sort_keys=True) for finding in found)
    expected = case["expect"]
    return in_order(findings) == in_order(expected["findings"]) and in_order(chains) == in_order(expected["chains"])


def merged(value, patch):
    """A JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    value = dict(value) if isinstance(value, dict) else {}
    for name, member in patch.items():
        if member is None:
            value.pop(name, None)
        else:
            value[name] = merged(value.get(name), member)
    return value


def resolved(source, folder):
    if "value" in source:
        return source["value"]
    return merged(json.loads((folder / source["file"]).read_text()), source.get("patch", {}))


def check_decision(case, folder):
    review = resolved(case["review"], folder)
    documents = [resolved(document, folder) for document in case["documents"]]
    now = datetime.strptime(case["now"], "%Y-%m-%dT%H:%M:%SZ")
    found = decision.Decision(review, case["namespaceLabels"], documents, case.get("facts", {}), now).result
    return all(found.get(name) == value for name, value in case["expect"].items())


def main(folder):
    shapes = manifest.Shapes(json.loads(Path(folder, "spec-hash-v1", "fields.json").read_text()))
    passed, failed = 0, 0
    for suite in ("approval-v1", "spec-hash-v1", "decision-v1", "record-v1"):
        for path in sorted(Path(folder, suite).glob("*.json")):
            text = path.read_text()
            case = json.loads(text)
            if "expect" not in case:
                continue
            if suite == "approval-v1":
                agrees = check_approval(case)
            elif suite == "spec-hash-v1":
                agrees = check_spec_hash(case, text, shapes)
            elif suite == "decision-v1":
                agrees = check_decision(case, path.parent)
            else:
                agrees = check_record(case)
            passed, failed = passed + agrees, failed + (not agrees)
            if not agrees:
                print(f"{suite}/{path.name}: {case['description']}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
