"""docs/spec/record-v1.md: verifying logs of sealed records."""

import re
import uuid

from .ed25519 import PublicKey
from .encoding import Members, Refused, base64_bytes, canonical, is_digest, pae, parse_members, sha256, strict_json

DECISION, CHAIN, SEAL = "writgate.dev/decision/v1", "writgate.dev/chain/v1", "writgate.dev/seal/v1"
PAYLOAD_TYPE = "application/vnd.writgate.decision.v1+json"
SEAL_PAYLOAD_TYPE = "application/vnd.writgate.seal.v1+json"


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
        formats = ("writgate.dev/decision/", "writgate.dev/chain/", "writgate.dev/seal/")
        if any(format_ in text for format_ in formats) or ('"chain"' in text and '"signature"' in text):
            return True
        text = _unescape(text)
    return False


def _canonical(text):
    """The canonical form of a line without its signature."""
    return canonical(Members(member for member in parse_members(text) if member[0] != "signature")).encode()


def _is_link(line):
    chain = line["chain"]
    if not isinstance(chain, dict) or not _is_uuid(line.get("id")) or not _is_uuid(chain.get("writer")):
        return False
    previous = chain.get("previous")
    if not _is_sequence(chain.get("sequence")) or not (previous is None or is_digest(previous)):
        return False
    if (previous is None) != (chain["sequence"] == 0):
        return False
    if "time" in line and not _is_time(line["time"]):
        return False
    return "heads" not in line or (isinstance(line["heads"], list) and all(map(_is_head, line["heads"])))


def _is_seal(line):
    return _is_head(line["chain"]) and _is_time(line.get("time"))


class Verifier:
    """Reads lines in any order and reports findings."""

    def __init__(self, keys, checkpoints):
        self.keys = {key.id: key for key in map(PublicKey, keys)}
        self.writers = {}
        self.heads = {}
        self.links = {}
        self.copies = {}
        self.findings = []
        # Records that wait for a seal, in the order in which they came.
        self.waiting = []
        self.was_awaited = set()
        # By writer: digests that a seal covers and whose lines were not seen, by sequence.
        self.awaited = {}
        # By writer: the sequence and digest of the latest seal.
        self.sealed = {}
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
        if line.get("version") not in (DECISION, CHAIN, SEAL) and not sealed:
            return
        if line.get("version") == DECISION and line.get("chain") is not None and "signature" not in line:
            return self.add_unsigned(text, line)
        if not sealed:
            return self.report("unsigned", line)
        signature = line["signature"]
        keyid = signature.get("keyid") if isinstance(signature, dict) else None
        known = {**self.keys, **{key.id: key for key in self.writers.values()}}
        if not isinstance(keyid, str) or keyid not in known:
            return self.report("forged" if isinstance(keyid, str) else "altered", line)
        key = known[keyid]
        is_seal = line.get("version") == SEAL
        signed = self.signed(text, line, key, SEAL_PAYLOAD_TYPE if is_seal else PAYLOAD_TYPE)
        if signed is None or not (_is_seal(line) if is_seal else _is_link(line)):
            return self.report("altered", line)
        chain = line["chain"]
        writer = str(uuid.UUID(chain["writer"]))
        may_sign = self.writers[writer].id == key.id if writer in self.writers else keyid in self.keys
        if not may_sign:
            return self.report("forged", line)
        if is_seal:
            return self.seal(writer, chain["sequence"], chain["digest"])
        self.add_signed(writer, "sha256:" + sha256(signed), line)

    def signed(self, text, line, key, payload_type):
        """The bytes that the key signed, if it signed this line, or None."""
        signature = line["signature"]
        if not isinstance(signature, dict) or set(signature) != {"keyid", "sig"} or not isinstance(signature["sig"], str):
            return None
        try:
            sig = base64_bytes(signature["sig"])
            signed = _canonical(text)
        except Refused:
            return None
        return signed if key.verifies(pae(payload_type, signed), sig) else None

    def add_signed(self, writer, digest, line):
        sequence, previous = line["chain"]["sequence"], line["chain"].get("previous")
        awaited = self.awaited.get(writer, {}).pop(sequence, digest)
        self.link(writer, sequence, digest, previous, line, awaited != digest)
        for waiting in self.take(writer, sequence):
            self.covered(waiting) if waiting["digest"] == digest else self.report("altered", waiting["line"])
        if awaited == digest and (writer, sequence) in self.was_awaited:
            self.trust(writer, sequence - 1, previous)

    def add_unsigned(self, text, line):
        """A record that only a seal can verify."""
        try:
            digest = "sha256:" + sha256(_canonical(text))
        except Refused:
            return self.report("unsigned", line)
        if not _is_link(line) or line["chain"]["sequence"] == 0:
            return self.report("unsigned", line)
        writer, sequence = str(uuid.UUID(line["chain"]["writer"])), line["chain"]["sequence"]
        new = {"writer": writer, "sequence": sequence, "digest": digest, "line": line, "copies": 0}
        awaited = self.awaited.get(writer, {})
        present = self.links.get(writer, {}).get(sequence)
        known = awaited.get(sequence) or (present and present["digest"])
        if known and known != digest:
            return self.report("altered", line)
        if known:
            is_awaited = awaited.pop(sequence, None)
            self.covered(new)
            if is_awaited:
                self.trust(writer, sequence - 1, line["chain"].get("previous"))
            return
        for waiting in self.waiting:
            if (waiting["writer"], waiting["sequence"], waiting["digest"]) == (writer, sequence, digest):
                waiting["copies"] += 1
                return
        self.waiting.append(new)

    def take(self, writer, sequence):
        """The waiting lines of a position, which no longer wait."""
        taken = [one for one in self.waiting if (one["writer"], one["sequence"]) == (writer, sequence)]
        self.waiting = [one for one in self.waiting if one not in taken]
        return taken

    def covered(self, one):
        """A line without a signature that a seal or a copy with a signature verifies."""
        chain = one["line"]["chain"]
        self.link(one["writer"], one["sequence"], one["digest"], chain.get("previous"), one["line"])
        if one["copies"]:
            self.copies[one["writer"]] = self.copies.get(one["writer"], 0) + one["copies"]

    def seal(self, writer, sequence, digest):
        present = self.links.get(writer, {}).get(sequence)
        others = [present["digest"]] if present else []
        others += self.heads.get(writer, {}).get(sequence, ())
        others += [one for one in [self.awaited.get(writer, {}).get(sequence)] if one]
        if any(other != digest for other in others):
            return self.findings.append({"finding": "forked", "place": {"writer": writer, "sequence": sequence}})
        if writer not in self.sealed or self.sealed[writer][0] < sequence:
            self.sealed[writer] = (sequence, digest)
        self.trust(writer, sequence, digest)

    def trust(self, writer, sequence, digest):
        """Follows the digests from a sealed one to the beginning of the chain."""
        while sequence >= 0 and digest is not None:
            previous = None
            for waiting in self.take(writer, sequence):
                if waiting["digest"] == digest:
                    self.covered(waiting)
                else:
                    self.report("altered", waiting["line"])
            present = self.links.get(writer, {}).get(sequence)
            if present is None:
                self.awaited.setdefault(writer, {}).setdefault(sequence, digest)
                self.was_awaited.add((writer, sequence))
                return
            if present["digest"] != digest:
                return
            previous = present["previous"]
            sequence, digest = sequence - 1, previous

    def tail(self, writer):
        """The waiting lines of a writer that may not be sealed yet."""
        lines = [one for one in self.waiting if one["writer"] == writer]
        known = [(sequence, next(iter(digests))) for sequence, digests in self.heads.get(writer, {}).items()]
        known += [self.sealed[writer]] if writer in self.sealed else []
        links = self.links.get(writer, {})
        known += [(0, links[0]["digest"])] if 0 in links else []
        if not known:
            return []
        last, digest = max(known)
        tail = []
        if links and max(links) > last:
            return tail
        while True:
            last += 1
            found = [one for one in lines if one["sequence"] == last]
            if len(found) != 1 or found[0]["line"]["chain"]["previous"] != digest:
                return tail
            tail.append(found[0])
            digest = found[0]["digest"]

    def link(self, writer, sequence, digest, previous, line, is_forked=False):
        chain = self.links.setdefault(writer, {})
        present = chain.get(sequence)
        if present and present["digest"] == digest:
            self.copies[writer] = self.copies.get(writer, 0) + 1
            return
        before, after = chain.get(sequence - 1), chain.get(sequence + 1)
        forked = (
            is_forked
            or present is not None
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
        tails = {writer: self.tail(writer) for writer in {one["writer"] for one in self.waiting}}
        for one in self.waiting:
            if one not in tails[one["writer"]]:
                self.report("unsigned", one["line"])
        for writer in sorted(set(self.links) | set(self.heads) | set(self.sealed)):
            links = self.links.get(writer, {})
            sealed = [self.sealed[writer][0]] if writer in self.sealed else []
            last = max([*links, *self.heads.get(writer, {}), *sealed])
            missing = [sequence for sequence in range(last + 1) if sequence not in links]
            for first, final in _runs(missing):
                finding = {"finding": "missing", "writer": writer, "from": first, "to": final}
                if first - 1 in links:
                    finding["after"] = links[first - 1]["id"]
                if final + 1 in links:
                    finding["before"] = links[final + 1]["id"]
                self.findings.append(finding)
            chain = {"writer": writer, "links": len(links), "copies": self.copies.get(writer, 0)}
            if tails.get(writer):
                chain["notYetSealed"] = len(tails[writer])
            chains.append(chain)
        return self.findings, chains


def _runs(numbers):
    runs = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
