"""docs/spec/approval-v1.md: envelope, signatures, statement."""

import json
import re

from .encoding import Refused, base64_bytes, has_outer_space, is_uuid7, pae, strict_json, time

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE, MAX_SIGNATURES, MAX_ITEMS, MAX_STRING = 32768, 16, 64, 512


class Failed(Exception):
    """An approval fails; `reason` is the code, `stage` the part that is malformed."""

    def __init__(self, reason, stage=None):
        super().__init__(reason)
        self.reason, self.stage = reason, stage


def _member(value, name, required=True):
    if name not in value:
        if required:
            raise Refused(f"{name} is missing")
        return None
    if value[name] is None:
        raise Refused(f"{name} is null")
    return value[name]


def _object(value):
    if not isinstance(value, dict):
        raise Refused("not an object")
    return value


def _list(value, least, most):
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise Refused("not a list of the permitted length")
    return value


def _string(value):
    if not isinstance(value, str) or len(value.encode()) > MAX_STRING:
        raise Refused("not a string of at most 512 bytes")
    return value


def _name(value):
    if _string(value) == "" or has_outer_space(value):
        raise Refused("not a name")
    return value


class Envelope:
    """A payload and unverified signatures."""

    def __init__(self, text):
        try:
            if len(text.encode()) > MAX_ENVELOPE:
                raise Refused("the envelope is too long")
            value = _object(strict_json(text))
            if _member(value, "payloadType") != PAYLOAD_TYPE:
                raise Refused("another payload type")
            payload = _member(value, "payload")
            if not isinstance(payload, str):
                raise Refused("payload is not a string")
            self.payload = base64_bytes(payload)
            self.signatures = []
            for signature in _list(_member(value, "signatures"), 1, MAX_SIGNATURES):
                keyid = _member(_object(signature), "keyid", required=False)
                sig = _member(signature, "sig")
                if not isinstance(sig, str):
                    raise Refused("sig is not a string")
                self.signatures.append(("" if keyid is None else _string(keyid), base64_bytes(sig)))
        except Refused as refused:
            raise Failed("MalformedApproval", "envelope") from refused

    def verify(self, keys, budget):
        """The keys that verify the envelope, in its order, each once. `budget` is a list with the checks that are left."""
        message = pae(PAYLOAD_TYPE, self.payload)
        by_id = {key.id: key for key in keys}
        good, failed = [], False
        for keyid, bytes_ in self.signatures:
            named = by_id.get(keyid)
            if len(bytes_) != 64:
                failed |= named is not None
                continue
            for key in [named] if named else keys:
                if budget[0] == 0:
                    raise Failed("MalformedApproval", "envelope")
                budget[0] -= 1
                if key.verifies(message, bytes_):
                    if key not in good:
                        good.append(key)
                    break
            else:
                failed |= named is not None
        if not good:
            raise Failed("InvalidSignature" if failed else "UnknownKey")
        return good


def _closed(value, names):
    unknown = set(value) - set(names)
    if unknown:
        raise Refused(f"unknown members {sorted(unknown)}")


class Statement:
    """The content of an approval."""

    def __init__(self, payload):
        try:
            self._read(strict_json(payload.decode("utf-8")))
        except (Refused, UnicodeDecodeError) as refused:
            raise Failed("MalformedApproval", "statement") from refused

    def _read(self, value):
        _closed(_object(value), ["_type", "subject", "predicateType", "predicate"])
        if _member(value, "_type") != "https://in-toto.io/Statement/v1":
            raise Refused("another type")
        if _member(value, "predicateType") != "https://writgate.dev/approval/v1":
            raise Refused("another predicate type")
        self.subjects = []
        for subject in _list(_member(value, "subject"), 1, MAX_ITEMS):
            _closed(_object(subject), ["name", "digest"])
            digest = _object(_member(subject, "digest"))
            _closed(digest, ["sha256"])
            sha256 = _member(digest, "sha256")
            if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise Refused("a digest that is none")
            self.subjects.append((_name(_member(subject, "name")), sha256))
        self.predicate = predicate = _object(_member(value, "predicate"))
        _closed(
            predicate,
            "id projection action cluster clusters environment project capabilities pipelineVersion configBundle replay breakGlass"
            " requestedBy reason notBefore expiresAt".split(),
        )
        if not is_uuid7(_member(predicate, "id")):
            raise Refused("id is not a UUIDv7")
        if _member(predicate, "projection") != "v1":
            raise Refused("another projection")
        if _member(predicate, "action") not in ("deploy", "replay-execute", "replay-dry-run"):
            raise Refused("another action")
        for name in ("environment", "project", "requestedBy"):
            _name(_member(predicate, name))
        for name in ("cluster", "pipelineVersion", "configBundle"):
            if (claim := _member(predicate, name, required=False)) is not None:
                _name(claim)
        if (clusters := _member(predicate, "clusters", required=False)) is not None:
            names = [_name(name) for name in _list(clusters, 1, MAX_ITEMS)]
            if len(set(names)) < len(names):
                raise Refused("a cluster twice")
            if "cluster" in predicate:
                raise Refused("both cluster and clusters")
        if (reason := _member(predicate, "reason", required=False)) is not None:
            _string(reason)
        for capability in _list(_member(predicate, "capabilities"), 0, MAX_ITEMS):
            _name(capability)
        if (replay := _member(predicate, "replay", required=False)) is not None:
            claims = ["incident", "incidentSpecHash", "sourceEnvironment", "sourceArtifact"]
            _closed(_object(replay), claims)
            for name in claims:
                if (claim := _member(replay, name, required=False)) is not None:
                    _name(claim)
        break_glass = _member(predicate, "breakGlass", required=False)
        if break_glass not in (None, True, False) or isinstance(break_glass, int) and not isinstance(break_glass, bool):
            raise Refused("breakGlass is not a boolean")
        self.break_glass = bool(break_glass)
        self.not_before, self.expires_at = time(_member(predicate, "notBefore")), time(_member(predicate, "expiresAt"))
        if self.not_before >= self.expires_at:
            raise Refused("notBefore is not before expiresAt")

    def agreement(self):
        """Equal for two approvals that agree."""
        compared = {k: v for k, v in self.predicate.items() if k not in ("id", "notBefore", "expiresAt", "reason")}
        compared["capabilities"] = sorted(compared["capabilities"])
        if "clusters" in compared:
            compared["clusters"] = sorted(compared["clusters"])
        compared["breakGlass"] = self.break_glass
        return json.dumps(compared, sort_keys=True)


def subject_covers(name, api_version, kind, namespace, operation, object_name, generate_name):
    """Whether a subject of this name covers an object."""
    head = f"{api_version}/{kind}/{namespace}/"
    if not name.startswith(head):
        return False
    rest = name[len(head) :]
    if not rest.endswith("*"):
        return rest != "" and rest == object_name
    prefix = rest[:-1]
    if operation != "CREATE" or prefix == "" or prefix != generate_name:
        return False
    stem = prefix.encode()[:58].decode(errors="ignore")
    generated = re.fullmatch(re.escape(stem) + "[bcdfghjklmnpqrstvwxz2456789]{5}", object_name)
    return object_name == "" or generated is not None
