"""docs/spec/decision-v1.md, Documents: postures and the documents that they name."""

import re
from datetime import datetime, timedelta

from .ed25519 import PublicKey
from .encoding import Refused, has_outer_space, is_digest, is_uuid7, time

ACTIONS = ("deploy", "replay-execute", "replay-dry-run")
SEGMENT = r"[A-Za-z0-9_-]+"


class Invalid(Exception):
    """A document breaks a rule."""


def _closed(value, names):
    if not isinstance(value, dict):
        raise Invalid("not an object")
    if unknown := set(value) - set(names):
        raise Invalid(f"unknown members {sorted(unknown)}")
    if nulls := [name for name, member in value.items() if member is None]:
        raise Invalid(f"null members {nulls}")
    return value


def _text(value):
    if not isinstance(value, str) or len(value.encode()) > 512:
        raise Invalid("not a string of at most 512 bytes")
    return value


def _name(value):
    if _text(value) == "" or has_outer_space(value) or re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        raise Invalid(f"{value!r} is not a name")
    return value


def _list(value, read, least=0):
    if not isinstance(value, list) or len(value) < least:
        raise Invalid("not a list")
    return [read(item) for item in value]


def _choice(*values):
    def read(value):
        if value not in values:
            raise Invalid(f"{value!r} is not one of {values}")
        return value

    return read


def _capability(value):
    if not re.fullmatch(rf"{SEGMENT}(\.{SEGMENT})*", _text(value)):
        raise Invalid(f"{value!r} is not a capability")
    return value


def _grant(value):
    _capability(_text(value).removesuffix(".*"))
    return value


def covers(grant, capability):
    if grant.endswith(".*"):
        return capability.startswith(grant[:-1])
    return grant == capability


def _duration(value):
    units = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
    if re.fullmatch(r"[0-9]+d", _text(value)):
        return timedelta(days=int(value[:-1]))
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise Invalid(f"{value!r} is not a duration")
    return timedelta(microseconds=sum(float(number) * units[unit] for number, unit in parts) / 1e3)


def _quorum(value):
    def entry(one):
        _closed(one, ["group", "count"])
        if not isinstance(one.get("count"), int) or one["count"] < 1:
            raise Invalid("count is not a number from 1")
        return one.get("group"), one["count"]

    entries = _list(value, entry, least=1)
    if sum(count for _, count in entries) > 32:
        raise Invalid("more than 32 people")
    return entries


class Terms:
    """The requirements of an action, or of break-glass, for an approval."""

    def __init__(self, value, capabilities, lifetime):
        self.capabilities = list(dict.fromkeys(_list(value.get("capabilities", [capabilities]), _capability, least=1)))
        self.quorum = _quorum(value.get("quorum", [{"count": 1}]))
        self.max_lifetime = _duration(value.get("maxLifetime", lifetime))


class ActionRule(Terms):
    """The rule of one action."""

    def __init__(self, action, value, enforcement):
        _closed(value, ["approval", "capabilities", "quorum", "maxLifetime", "singleUse", "enforcement"])
        default = {"deploy": "deploy", "replay-execute": "replay.execute", "replay-dry-run": "replay.dry-run"}[action]
        super().__init__(value, default, "24h")
        is_free = action == "replay-dry-run"
        self.required = _choice("required", "none")(value.get("approval", "none" if is_free else "required")) == "required"
        self.single_use = value.get("singleUse", action == "replay-execute")
        self.enforcement = _choice("enforce", "warn", "audit")(value.get("enforcement", enforcement))


class Key:
    """A reviewer's key, and when it is valid."""

    def __init__(self, value):
        _closed(value, ["publicKey", "notBefore", "notAfter"])
        try:
            self.key = PublicKey(_only_text(value.get("publicKey")))
            self.not_before = time(value["notBefore"]) if "notBefore" in value else datetime.min
            self.not_after = time(value["notAfter"]) if "notAfter" in value else datetime.max
        except Refused as refused:
            raise Invalid(str(refused)) from refused
        if self.not_before >= self.not_after:
            raise Invalid("notBefore is not before notAfter")


def _only_text(value):
    if not isinstance(value, str):
        raise Invalid("not a string")
    return value


class Reviewer:
    """A person who may approve."""

    def __init__(self, value):
        _closed(value, ["name", "groups", "projects", "capabilities", "identities", "keys"])
        self.name = _name(value.get("name"))
        self.groups = _list(value.get("groups", []), _name)
        self.projects = _list(value["projects"], _name) if "projects" in value else None
        self.grants = _list(value.get("capabilities"), _grant, least=1)
        self.identities = _list(value.get("identities", []), _name)
        self.keys = _list(value.get("keys"), Key, least=1)

    def is_user(self, user):
        return any(same_name(user, own) for own in [self.name, *self.identities])


def same_name(one, other):
    """Equal without regard to ASCII case."""
    fold = lambda text: "".join(char.lower() if char.isascii() else char for char in text)
    return fold(one) == fold(other)


class Revocations:
    """Revocations and the times from which they apply."""

    def __init__(self, values):
        self.at = {}
        for value in values:
            _closed(value, ["apiVersion", "kind", "name", "approvals", "keys", "specs"])
            for list_, member in (("approvals", "id"), ("keys", "id"), ("specs", "hash")):
                for one in value.get(list_, []):
                    self._add(list_, member, _closed(one, [member, "at", "why"]))

    def _add(self, list_, member, one):
        is_right = {"approvals": is_uuid7, "specs": is_digest, "keys": lambda text: re.fullmatch(r"[0-9a-f]{64}", text)}
        if not is_right[list_](_text(one.get(member))):
            raise Invalid(f"{one.get(member)!r} cannot be revoked")
        at = time(one["at"]) if "at" in one else datetime.min
        self.at[list_, one[member]] = min(at, self.at.get((list_, one[member]), at))

    def has(self, list_, id_, now):
        at = self.at.get((list_, id_))
        return at is not None and at <= now


POSTURE = (
    "apiVersion kind environment cluster namespaces enforcement actions capabilityRules reviewerSets revocationLists"
    " pipelineSets separationOfDuties pipelineVersion configBundle secrets images replay workloads pods ungoverned rollback connect"
    " breakGlass audit"
).split()


class Posture:
    """The rules of one environment."""

    def __init__(self, value, named):
        _closed(value, POSTURE)
        self.environment = value["environment"]
        self.cluster = _name(value["cluster"]) if "cluster" in value else None
        self.namespaces = value.get("namespaces")
        enforcement = _choice("enforce", "warn", "audit")(value.get("enforcement", "enforce"))
        actions = _closed(value.get("actions", {}), ACTIONS)
        self.actions = {action: ActionRule(action, actions.get(action, {}), enforcement) for action in ACTIONS}
        self.rules = _list(value.get("capabilityRules", []), self._rule)
        duties = value.get("separationOfDuties", "claimed")
        self.duties = _choice("off", "claimed", "proven")("off" if duties is False else duties)
        self.images_by_digest = _choice("any", "digest")(value.get("images", "any")) == "digest"
        self.workloads = _choice("approve", "deny", "allow")(value.get("workloads", "approve"))
        self.pods = _choice("deny", "allow")(value.get("pods", "deny"))
        self.ungoverned = _choice("deny", "allow")(value.get("ungoverned", "allow"))
        self.connect = _choice("allow", "audit", "deny")(value.get("connect", "allow"))
        self.version_required = value.get("pipelineVersion") == "required"
        self.bundle_required = value.get("configBundle") == "required"
        self.secrets = set(value.get("secrets", []))
        replay = _closed(value.get("replay", {}), ["images", "sourceEnvironments", "dryRun"])
        self.replay_images = _list(replay.get("images", []), _text)
        self.sources = replay.get("sourceEnvironments")
        self.dry_run = replay.get("dryRun")
        _closed(value.get("audit", {}), ["durability"])
        self.rollback = None
        if "rollback" in value:
            rollback = _closed(value["rollback"], ["within", "revisions"])
            self.rollback = _duration(rollback["within"]), rollback["revisions"]
        self.emergency = None
        if "breakGlass" in value:
            emergency = _closed(value["breakGlass"], ["maxLifetime", "capabilities", "quorum"])
            self.emergency = Terms(emergency, "break-glass", "1h")
        self._sets(value, named)

    def _rule(self, rule):
        _closed(rule, ["name", "when", "require", "message"])
        return _name(rule.get("name")), rule.get("when"), _list(rule.get("require"), _capability, least=1)

    def _sets(self, value, named):
        sets = lambda member, kind: [named(kind, name) for name in value.get(member, [])]
        self.reviewers = []
        for document in sets("reviewerSets", "Reviewers"):
            _closed(document, ["apiVersion", "kind", "name", "reviewers"])
            self.reviewers += _list(document.get("reviewers", []), Reviewer)
        names = [name.lower() for reviewer in self.reviewers for name in {reviewer.name, *reviewer.identities}]
        keys = [key.key.id for reviewer in self.reviewers for key in reviewer.keys]
        if len(names) != len(set(names)) or len(keys) != len(set(keys)):
            raise Invalid("a name or a key is there twice")
        self.revocations = Revocations(sets("revocationLists", "Revocations"))
        self.builds = None
        if "pipelineSets" in value:
            self.builds = {}
            for document in sets("pipelineSets", "Pipelines"):
                _closed(document, ["apiVersion", "kind", "name", "pipelines"])
                for pipeline, versions in document.get("pipelines", {}).items():
                    for version, build in versions.items():
                        key = f"{pipeline}@{version}"
                        if self.builds.setdefault(key, build) != build:
                            raise Invalid(f"two builds of {key}")
        if self.version_required and self.builds is None:
            raise Invalid("pipelineVersion without pipelineSets")

    @property
    def keys(self):
        return [key.key for reviewer in self.reviewers for key in reviewer.keys]

    def owner(self, key):
        """The reviewer and the validity of a public key."""
        return next((r, own) for r in self.reviewers for own in r.keys if own.key is key)


def find_posture(documents, environment):
    """The posture of an environment. None if there is none; `Invalid` if it is invalid."""
    postures = [d for d in documents if d.get("kind") == "Posture" and d.get("environment") == environment]
    if not postures:
        return None
    if len(postures) > 1:
        raise Invalid("two postures")

    def named(kind, name):
        found = [d for d in documents if d.get("kind") == kind and d.get("name") == name]
        if len(found) != 1:
            raise Invalid(f"{len(found)} documents {kind} {name}")
        return found[0]

    return Posture(postures[0], named)
