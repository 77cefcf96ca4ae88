"""docs/spec/record-v1.md: verifying logs of sealed records."""

import re
import uuid

from .ed25519 import PublicKey
from .encoding import Members, Refused, base64_bytes, canonical, is_digest, pae, parse_members, sha256, strict_json

DECISION, CHAIN = "writgate.dev/decision/v1", "writgate.dev/chain/v1"
PAYLOAD_TYPE = "application/vnd.writgate.decision.v1+json"


def _is_uuid(text):
    try:
        return isinstance(text, str) and bool(uuid.UUID(text))
    except ValueError:
        return False


def _is_sequence(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def _is_time(text):
    shape = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)"
    return isinstance(text, str) and re.fullmatch(shape, text, re.ASCII) is not None


def _is_head(value):
    return (
        isinstance(value, dict)
        and _is_uuid(value.get("writer"))
        and _is_sequence(value.get("sequence"))
        and is_digest(value.get("digest"))
    )


def _unescape(text):
    def meant(escape):
        if escape[1] != "u":
            return escape[1]
        code = int(escape[2:], 16)
        return chr(code) if 0x20 <= code <= 0x7E else escape

    return re.sub(r'\\(?:["\\/]|u[0-9A-Fa-f]{4})', lambda found: meant(found[0]), text)


def _looks_like_a_record(text):
    for _ in range(4):
        formats = "writgate.dev/decision/" in text or "writgate.dev/chain/" in text
        if formats or ('"chain"' in text and '"signature"' in text):
            return True
        text = _unescape(text)
    return False


class Verifier:
    """Reads lines in any order and reports findings."""

    def __init__(self, keys, checkpoints):
        self.keys = {key.id: key for key in map(PublicKey, keys)}
        self.writers = {}
        self.heads = {}
        self.links = {}
        self.copies = {}
        self.findings = []
        for checkpoint in checkpoints:
            key = PublicKey(checkpoint["publicKey"])
            if checkpoint["version"] != CHAIN or checkpoint["keyid"] != key.id:
                raise Refused("a checkpoint that is none")
            self.writers[checkpoint["writer"]] = key
            head = checkpoint["head"]
            self.heads.setdefault(checkpoint["writer"], {}).setdefault(head["sequence"], set()).add(head["digest"])

    def add(self, text):
        try:
            line = strict_json(text)
        except Refused:
            if _looks_like_a_record(text):
                self.findings.append({"finding": "unreadable"})
            return
        if not isinstance(line, dict):
            return
        sealed = line.get("chain") is not None and line.get("signature") is not None
        if line.get("version") not in (DECISION, CHAIN) and not sealed:
            return
        if not sealed:
            return self.report("unsigned", line)
        signature = line["signature"]
        keyid = signature.get("keyid") if isinstance(signature, dict) else None
        known = {**self.keys, **{key.id: key for key in self.writers.values()}}
        if not isinstance(keyid, str) or keyid not in known:
            return self.report("forged" if isinstance(keyid, str) else "altered", line)
        key = known[keyid]
        digest = self.verified(text, line, key)
        if digest is None:
            return self.report("altered", line)
        chain = line["chain"]
        writer = str(uuid.UUID(chain["writer"]))
        may_sign = self.writers[writer].id == key.id if writer in self.writers else keyid in self.keys
        if not may_sign:
            return self.report("forged", line)
        self.link(writer, chain["sequence"], digest, chain.get("previous"), line)

    def verified(self, text, line, key):
        """The digest of a line that the key signed in the form of a link, or None."""
        signature = line["signature"]
        if not isinstance(signature, dict) or set(signature) != {"keyid", "sig"} or not isinstance(signature["sig"], str):
            return None
        try:
            sig = base64_bytes(signature["sig"])
            members = Members(member for member in parse_members(text) if member[0] != "signature")
            signed = canonical(members).encode()
        except Refused:
            return None
        if not key.verifies(pae(PAYLOAD_TYPE, signed), sig):
            return None
        chain = line["chain"]
        if not isinstance(chain, dict) or not _is_uuid(line.get("id")) or not _is_uuid(chain.get("writer")):
            return None
        previous = chain.get("previous")
        if not _is_sequence(chain.get("sequence")) or not (previous is None or is_digest(previous)):
            return None
        if (previous is None) != (chain["sequence"] == 0):
            return None
        if "time" in line and not _is_time(line["time"]):
            return None
        if "heads" in line and not (isinstance(line["heads"], list) and all(map(_is_head, line["heads"]))):
            return None
        return "sha256:" + sha256(signed)

    def link(self, writer, sequence, digest, previous, line):
        chain = self.links.setdefault(writer, {})
        present = chain.get(sequence)
        if present and present["digest"] == digest:
            self.copies[writer] = self.copies.get(writer, 0) + 1
            return
        before, after = chain.get(sequence - 1), chain.get(sequence + 1)
        forked = (
            present is not None
            or (before is not None and before["digest"] != previous)
            or (after is not None and after["previous"] != digest)
            or any(head != digest for head in self.heads.get(writer, {}).get(sequence, ()))
        )
        if present is None:
            chain[sequence] = {"digest": digest, "previous": previous, "id": str(uuid.UUID(line["id"]))}
        if forked:
            self.fork(writer, sequence, line["id"])
        if sequence == 0:
            for head in line.get("heads", []):
                self.head(str(uuid.UUID(head["writer"])), head["sequence"], head["digest"])

    def head(self, writer, sequence, digest):
        named = self.heads.setdefault(writer, {}).setdefault(sequence, set())
        if digest in named:
            return
        named.add(digest)
        link = self.links.get(writer, {}).get(sequence)
        if link and link["digest"] != digest:
            self.fork(writer, sequence, link["id"])

    def fork(self, writer, sequence, id_):
        place = {"writer": writer, "sequence": sequence, "id": id_}
        self.findings.append({"finding": "forked", "place": place})

    def report(self, finding, line):
        chain = line.get("chain") if isinstance(line.get("chain"), dict) else {}
        signature = line.get("signature") if isinstance(line.get("signature"), dict) else {}
        claims = {"id": line.get("id"), "writer": chain.get("writer"), "keyid": signature.get("keyid")}
        claims = {name: text[:80] for name, text in claims.items() if isinstance(text, str)}
        if _is_sequence(chain.get("sequence")):
            claims["sequence"] = chain["sequence"]
        self.findings.append({"finding": finding, "claims": claims})

    def finish(self):
        """All findings, and the chains."""
        chains = []
        for writer in sorted(set(self.links) | set(self.heads)):
            links = self.links.get(writer, {})
            last = max([*links, *self.heads.get(writer, {})])
            missing = [sequence for sequence in range(last + 1) if sequence not in links]
            for first, final in _runs(missing):
                finding = {"finding": "missing", "writer": writer, "from": first, "to": final}
                if first - 1 in links:
                    finding["after"] = links[first - 1]["id"]
                if final + 1 in links:
                    finding["before"] = links[final + 1]["id"]
                self.findings.append(finding)
            chains.append({"writer": writer, "links": len(links), "copies": self.copies.get(writer, 0)})
        return self.findings, chains


def _runs(numbers):
    runs = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
