"""docs/spec/decision-v1.md: the decision about a request. Capability rules are `true` or `false` here."""

import re
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256 as digest_of

from . import images, posture as postures, spec_hash
from .approval import Envelope, Failed, Statement, subject_covers
from .encoding import Refused, canonical, is_digest, sha256
from .manifest import with_members
from .posture import covers, same_name

ORDER = (
    "MalformedReview UnsupportedKind PostureMissing PostureInvalid NamespaceNotListed WorkloadNotAllowed|ApprovalRequired|"
    "MalformedApproval|UnknownKey|InvalidSignature|SpecHashMismatch|WrongResource|WrongEnvironment WrongCluster"
    " WrongProject|WrongAction|NotYetValid Expired LifetimeTooLong|Revoked|InsufficientCapabilities|SelfApproval"
    " QuorumNotMet|PipelineVersionMismatch NotCanonicalBuild ConfigBundleMismatch ImageNotPinned|"
    "SourceEnvironmentMismatch SourceArtifactMismatch IncidentMismatch|AlreadyUsed LookupFailed"
)
ROW = {code: row for row, codes in enumerate(ORDER.split("|"), 1) for code in codes.split()}
PLACE = {code: place for place, code in enumerate(re.split(r"[| ]", ORDER))}
BOUND = [
    f"writgate.dev/{name}"
    for name in "pipeline-version config-bundle incident incident-spec-hash source-environment source-artifact".split()
]
REPLAY = "writgate.dev/replay"
EXEMPT = {
    ("deployment-controller", "replicasets"),
    ("replicaset-controller", "pods"),
    ("replication-controller", "pods"),
    ("job-controller", "pods"),
    ("statefulset-controller", "pods"),
    ("statefulset-controller", "controllerrevisions"),
    ("daemon-set-controller", "pods"),
    ("daemon-set-controller", "controllerrevisions"),
    ("cronjob-controller", "jobs"),
    ("generic-garbage-collector", "replicasets"),
    ("generic-garbage-collector", "replicationcontrollers"),
    ("generic-garbage-collector", "controllerrevisions"),
    ("generic-garbage-collector", "jobs"),
    ("generic-garbage-collector", "pods"),
}

ADOPTED = {"controllerrevisions", "jobs", "pods", "replicasets", "replicationcontrollers"}
SETS = {"DaemonSet", "ReplicaSet", "ReplicationController", "StatefulSet"}
CONTROLLER_LABELS = {
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-hash",
}


class Deny(Exception):
    """Ends the decision with one reason."""


class NotAnAction(Exception):
    """Ends the decision: the request is not an action."""


def _get(value, *path):
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


class Thing:
    """An object of a review."""

    def __init__(self, value):
        self.value = value
        self.spec = value.get("spec")
        self.metadata = value.get("metadata") or {}
        self.labels = self.metadata.get("labels") or {}
        self.annotations = self.metadata.get("annotations") or {}

    @cached_property
    def bound(self):
        return [self.annotations.get(name) for name in BOUND] + [self.labels.get(REPLAY)]


def _equal(one, other):
    if one is None or other is None:
        return one is other
    plain = lambda value: canonical(spec_hash.without_null_timestamps(with_members(value)))
    return plain(one) == plain(other) and "\ufffd" not in plain(one)


class Decision:
    """One decision; `result` has the members of the specification."""

    def __init__(self, review, labels, documents, facts, now):
        self.facts, self.now, self.wakes_up = facts, now, False
        self.result = {"decision": "denied", "reasons": [], "basis": None}
        try:
            self.decide(review, labels, documents)
        except NotAnAction:
            self.result.update(decision="not-an-action", reasons=[], basis=None)
        except Deny as denial:
            self.finish([str(denial)], None)

    def finish(self, reasons, basis):
        reasons = sorted(set(reasons), key=PLACE.get)
        if self.wakes_up and not reasons:
            raise NotAnAction
        softened = self.result.get("enforcement") in ("warn", "audit")
        admitted = all(softened and ROW[code] > 1 for code in reasons)
        self.result.update(decision="admitted" if admitted else "denied", reasons=reasons)
        self.result["basis"] = None if reasons else basis

    # 1 and 2

    def decide(self, review, labels, documents):
        if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
            raise Deny("MalformedReview")
        self.request = request = review["request"]
        for member, name in ((m, n) for m in ("object", "oldObject") for n in ("name", "namespace")):
            given, own = request.get(name), _get(request, member, "metadata", name)
            if given and own and given != own:
                raise Deny("MalformedReview")
        self.environment, self.project = (labels.get(f"writgate.dev/{name}") for name in ("environment", "project"))
        if self.environment is None:
            raise NotAnAction
        self.user = request["userInfo"]["username"]
        self.operation = request["operation"]
        self.object = Thing(request["object"]) if request.get("object") else None
        self.old = Thing(request["oldObject"]) if request.get("oldObject") else None
        kind = request["kind"]
        self.kind = kind["kind"]
        self.api_version = f"{kind['group']}/{kind['version']}" if kind.get("group") else kind["version"]
        self.resource = request["resource"]["resource"]
        account = self.user.removeprefix("system:serviceaccount:kube-system:")
        self.exempt = account != self.user and (account, self.resource) in EXEMPT
        what = self.classify()
        self.govern(documents)
        what()

    def classify(self):
        subresource = self.request.get("subResource") or ""
        if self.operation == "DELETE":
            raise NotAnAction
        if self.operation == "CONNECT":
            if self.resource == "pods" and subresource in ("exec", "attach", "portforward", "proxy"):
                return self.connection
            raise Deny("UnsupportedKind")
        if subresource == "status":
            raise NotAnAction
        if subresource == "scale":
            return self.scale()
        if subresource == "ephemeralcontainers":
            return self.pod
        if subresource:
            raise Deny("UnsupportedKind")
        if (self.api_version, self.kind) in spec_hash.WORKLOADS:
            return self.changed_workload()
        if (self.api_version, self.kind) == ("v1", "Pod"):
            return self.changed_pod()
        if (self.api_version, self.kind) == ("apps/v1", "ControllerRevision"):
            return self.revision()
        raise Deny("UnsupportedKind")

    def changed_workload(self):
        if self.exempt and self.kind != "Job":
            raise NotAnAction
        if self.object.spec is None:
            raise Deny("MalformedReview")
        same_bound = self.old and self.object.bound == self.old.bound
        owns = self.kind in ("ReplicaSet", "ReplicationController")
        same_bound = same_bound and (self.exempt or self.same_adoption())
        if same_bound and self.object.spec == self.old.spec and not self.is_unclear():
            raise NotAnAction
        self.hash = self.hash_of(self.object)
        if self.hash is None or (self.old and self.old.spec is None):
            raise Deny("MalformedReview")
        if same_bound and (self.not_raised() if owns else self.hash == self.hash_of(self.old) and not self.releases()):
            if not self.starts_from_zero():
                raise NotAnAction
            self.wakes_up = True
        return self.workload

    def starts_from_zero(self):
        new, old = self.object.spec.get("replicas"), self.old.spec.get("replicas")
        number = lambda value: isinstance(value, int) and not isinstance(value, bool)
        return old is not None and not (number(old) and old > 0) and not (number(new) and new == 0)

    def is_unclear(self):
        return "\ufffd" in canonical(with_members(self.object.spec))

    def hash_of(self, thing):
        try:
            return spec_hash.spec_hash(self.api_version, self.kind, with_members(thing.spec))
        except Refused:
            return None

    def not_raised(self):
        replicas = lambda thing: thing.spec.get("replicas") or 0
        without = lambda thing: {name: value for name, value in thing.spec.items() if name != "replicas"}
        raised = replicas(self.object) > replicas(self.old)
        return not raised and _equal(without(self.object), without(self.old))

    def changed_pod(self):
        if self.exempt:
            raise NotAnAction
        if self.old and not self.same_adoption():
            if any(owner["kind"] == "Job" for owner in self.old.metadata.get("ownerReferences") or []):
                raise Deny("WorkloadNotAllowed")
        elif self.old and _equal(self.object.spec, self.old.spec):
            raise NotAnAction
        return self.pod

    def same_adoption(self):
        """Whether controllers find the object as before, by its labels and owner references."""
        if self.resource not in ADOPTED:
            return True
        owners = [thing.metadata.get("ownerReferences") for thing in (self.object, self.old)]
        new, old = self.object.labels, self.old.labels
        changed = {name for name in {*new, *old} if new.get(name) != old.get(name)}
        if self.resource == "pods" and any(one.get("controller") and one["kind"] in SETS for one in owners[1] or []):
            changed &= CONTROLLER_LABELS
        tracked, tracked_before = ("batch.kubernetes.io/job-tracking" in (thing.metadata.get("finalizers") or []) for thing in (self.object, self.old))
        of_a_job = self.resource == "pods" and any(owner["kind"] == "Job" for owner in owners[1] or [])
        untracked = of_a_job and tracked_before and not tracked
        return _equal(*owners) and not changed and not untracked

    def releases(self):
        for path in (["paused"], ["suspend"], ["jobTemplate", "spec", "suspend"]):
            new, old = _get(self.object.spec, *path), _get(self.old.spec, *path)
            if any(flag not in (True, False, None) for flag in (new, old)) or (old is True and new is not True):
                return True
        return False

    def scale(self):
        new, old = (_get(thing.spec, "replicas") or 0 for thing in (self.object, self.old))
        if self.exempt or not new > old:
            raise NotAnAction
        if self.resource in ("replicasets", "replicationcontrollers"):
            raise Deny("WorkloadNotAllowed")
        kinds = {"deployments": "Deployment", "statefulsets": "StatefulSet"}
        if old > 0 or self.resource not in kinds:
            raise NotAnAction
        return lambda: self.scaled_from_zero(kinds[self.resource], new)

    def scaled_from_zero(self, kind, replicas):
        if self.posture.ungoverned == "allow":
            raise NotAnAction
        live = self.facts.get("scaled")
        if live is None:
            self.set_action("deploy", required=None)
            return self.finish(["LookupFailed"], None)
        self.kind, self.api_version = kind, "apps/v1"
        self.object = Thing({**live, "spec": {**live["spec"], "replicas": replicas}})
        self.old = Thing({**live, "spec": {**live["spec"], "replicas": 0}})
        self.hash, self.wakes_up = self.hash_of(self.object), True
        self.workload()

    def revision(self):
        parts = lambda thing: [thing.value.get("data"), thing.value.get("revision")]
        unchanged = self.old and self.same_adoption()
        if self.exempt or (unchanged and all(map(_equal, parts(self.object), parts(self.old)))):
            raise NotAnAction
        raise Deny("WorkloadNotAllowed")

    # 3

    def govern(self, documents):
        try:
            self.posture = postures.find_posture(documents, self.environment)
        except postures.Invalid as invalid:
            raise Deny("PostureInvalid") from invalid
        if self.posture is None:
            raise Deny("PostureMissing")
        listed = self.posture.namespaces
        if self.project is None or (listed is not None and listed.get(self.request["namespace"]) != self.project):
            raise Deny("NamespaceNotListed")

    # 4

    def connection(self):
        if self.posture.connect == "allow":
            raise NotAnAction
        if self.posture.connect == "deny":
            raise Deny("WorkloadNotAllowed")
        self.finish([], "not-required")

    def pod(self):
        if self.posture.pods == "deny" or self.matching_rules():
            raise Deny("WorkloadNotAllowed")
        if any(images.matches(self.posture.replay_images, image) for image in images.of_pod(self.object.spec)):
            raise Deny("WorkloadNotAllowed")
        self.set_action("deploy", required=False)
        self.finish(self.unpinned(self.object.spec), "not-required")

    def unpinned(self, pod):
        pinned = all(images.pinned(image) for image in images.of_pod(pod))
        return ["ImageNotPinned"] if self.posture.images_by_digest and not pinned else []

    def set_action(self, action, required, capabilities=()):
        self.action, self.rule = action, self.posture.actions[action]
        self.single_use = self.rule.single_use and not self.wakes_up
        self.result.update(action=action, enforcement=self.rule.enforcement, approvalRequired=required)
        self.result["requiredCapabilities"] = list(capabilities)

    # 5

    def workload(self):
        if self.wakes_up and self.posture.ungoverned == "allow":
            raise NotAnAction
        path = ["jobTemplate", "spec", "template", "spec"] if self.kind == "CronJob" else ["template", "spec"]
        self.pod_spec = _get(self.object.spec, *path)
        if not isinstance(self.pod_spec, dict):
            raise Deny("MalformedReview")
        action = self.determine_action()
        if self.exempt and action == "deploy":
            raise NotAnAction
        rules = self.matching_rules()
        if rules and action == "replay-dry-run":
            action = "replay-execute"
        other = action == "deploy" and self.kind != "Deployment"
        rule = self.posture.actions[action]
        extra = [capability for rule_ in rules for capability in rule_]
        self.terms = rule, list(dict.fromkeys([*rule.capabilities, *extra]))
        self.emergency = None
        if self.posture.emergency:
            self.emergency = self.posture.emergency, list(dict.fromkeys([*self.posture.emergency.capabilities, *extra]))
        required = bool(rules) or (rule.required and not (other and self.posture.workloads == "allow"))
        self.set_action(action, required, self.terms[1])
        if other and self.posture.workloads == "deny":
            raise Deny("WorkloadNotAllowed")
        own, bundle = self.object_itself(), self.bundle_is_open
        reasons, basis = self.without_or_by_approval(required, own)
        if not reasons and bundle and (found := self.bundle_reasons()):
            reasons, basis = self.without_or_by_approval(required, [*own, *found])
        self.finish(reasons, basis)

    def without_or_by_approval(self, required, own):
        if not required:
            return own, "not-required"
        reasons, basis = self.approve(own)
        return [*reasons, *own], basis

    def determine_action(self):
        replay = any(images.matches(self.posture.replay_images, image) for image in images.of_pod(self.pod_spec))
        if self.kind != "Job":
            labels = _get(self.object.spec, "jobTemplate", "metadata", "labels") or {}
            if replay or (self.kind == "CronJob" and REPLAY in labels):
                raise Deny("WorkloadNotAllowed")
            return "deploy"
        label = self.object.labels.get(REPLAY)
        if label is None and not replay:
            return "deploy"
        contract = self.posture.dry_run
        if label == "dry-run" and contract is not None and self.meets(contract):
            return "replay-dry-run"
        return "replay-execute"

    def matching_rules(self):
        matching = []
        for _, when, require in self.posture.rules:
            if when not in ("true", "false"):
                raise Deny("PostureInvalid")
            if when == "true":
                matching.append(require)
        return matching

    # 6

    def annotation(self, name):
        return self.object.annotations.get(f"writgate.dev/{name}")

    def object_itself(self):
        posture, reasons = self.posture, self.unpinned(self.pod_spec)
        if posture.revocations.has("specs", self.hash, self.now):
            reasons.append("Revoked")
        version = self.annotation("pipeline-version")
        if version is not None and posture.builds is not None:
            reasons += self.build_reasons(posture.builds.get(version))
        if version is None and posture.version_required:
            reasons.append("PipelineVersionMismatch")
        source = self.annotation("source-environment")
        if self.action != "deploy" and posture.sources is not None and source is not None and source not in posture.sources:
            reasons.append("SourceEnvironmentMismatch")
        self.bundle_is_open = posture.bundle_required and self.action != "replay-dry-run"
        if self.bundle_is_open:
            maps, secrets = images.config_maps(self.pod_spec), images.secrets(self.pod_spec)
            names_digest = all(re.search(r"-[0-9a-f]{32,64}$", name) for name in maps)
            if not is_digest(self.annotation("config-bundle")) or not 1 <= len(maps) <= 32 or not names_digest or secrets - posture.secrets:
                reasons.append("ConfigBundleMismatch")
                self.bundle_is_open = False
        return reasons

    def build_reasons(self, build):
        if build is None:
            return ["NotCanonicalBuild"]
        reasons = []
        permitted = {images.pinned(image) for image in build["images"]}
        found = {images.pinned(image) for image in images.of_pod(self.pod_spec)}
        spec = build.get("specHash")
        if not found <= permitted or (spec and self.action == "deploy" and spec != self.hash):
            reasons.append("NotCanonicalBuild")
        incident = self.annotation("incident-spec-hash")
        if self.action != "deploy" and spec and incident is not None and incident != spec:
            reasons.append("IncidentMismatch")
        return reasons

    def bundle_reasons(self):
        wanted, digests = self.annotation("config-bundle"), set()
        for name in images.config_maps(self.pod_spec):
            content = self.facts.get("configMaps", {}).get(name)
            if content is None:
                return ["ConfigBundleMismatch"]
            data = {member: content[member] for member in ("binaryData", "data") if content.get(member)}
            digest = "sha256:" + sha256(canonical(data).encode())
            if any("\ufffd" in value for value in (content.get("data") or {}).values()):
                return ["ConfigBundleMismatch"]
            labels = content.get("labels") or {}
            is_bundle = labels.get("writgate.dev/kind") == "config-bundle" and content.get("immutable") is True
            is_here = labels.get("writgate.dev/environment") == self.environment
            if not (is_bundle and is_here and digest[7:].startswith(name.rpartition("-")[2])):
                return ["ConfigBundleMismatch"]
            digests.add(digest)
        return [] if wanted in digests else ["ConfigBundleMismatch"]

    # 7

    def approve(self, own):
        budget = [32]
        texts = [
            text
            for name, text in sorted(self.object.annotations.items(), key=lambda item: item[0].encode())
            if name == "writgate.dev/approval" or name.startswith("writgate.dev/approval.")
        ]
        if len(texts) > 8:
            return ["MalformedApproval"], None
        candidates = [Candidate(self, text, budget) for text in texts]
        reasons, basis = self.check_approvals(candidates, own)
        if reasons:
            found = self.detached(8 - len(texts))
            candidates += [Candidate(self, text, budget) for text in found]
            if found:
                reasons, basis = self.check_approvals(candidates, own)
        if basis and self.single_use and not own:
            reasons = self.spend()
        return self.roll_back(reasons, basis, own)

    def detached(self, most):
        found = [(one["name"], one["envelope"]) for one in self.facts.get("detached", [])]
        named = self.object.annotations.get("writgate.dev/approval-ref")
        if named is not None:
            return [text for name, text in found if name == named][:most]
        ranked = []
        for name, text in found:
            try:
                statement = Statement(Envelope(text).payload)
            except Failed:
                continue
            if any(f"sha256:{digest}" == self.hash for _, digest in statement.subjects):
                expires = statement.expires_at
                ranked.append((self.now >= expires, -(expires - datetime(1970, 1, 1)).total_seconds(), name.encode(), text))
        return [one[3] for one in sorted(ranked)][:most]

    def check_approvals(self, candidates, own):
        """The reasons that approvals leave, and the basis of an admission."""
        if not candidates:
            return ["ApprovalRequired"], None
        if self.single_use:
            for candidate in candidates:
                if candidate.passes and self.use_state(candidate) == "used":
                    candidate.reasons.append(("AlreadyUsed", ROW["AlreadyUsed"]))
        passing = [candidate for candidate in candidates if candidate.passes]
        for first in passing:
            group = [one for one in passing if one.statement.agreement() == first.statement.agreement()]
            if self.is_enough(group):
                self.given = group
                self.result["approvals"] = [one.statement.predicate["id"] for one in group]
                return [], "break-glass" if first.statement.break_glass else "approval"
        reasons_of = lambda one: one.reasons + ([("QuorumNotMet", 13)] if one in passing and not own else [])
        rank = lambda one: (min((row for _, row in reasons_of(one)), default=99), -len({c for c, _ in reasons_of(one)}))
        best = max(candidates, key=rank)  # the first of equals
        self.result["approvals"] = [best.statement.predicate["id"]] if best.statement else []
        return [code for code, _ in reasons_of(best)], None

    def is_enough(self, group):
        counting = list({reviewer.name: reviewer for one in group for reviewer in one.counting}.values())
        places = [group_ for group_, count in group[0].terms.quorum for _ in range(count)]
        if not _fills(places, counting):
            return False
        if self.posture.duties != "proven" or len(counting) >= 2:
            return True
        for one in group:
            requester = one.statement.predicate["requestedBy"]
            if self.is_initiator(requester) or any(reviewer.is_user(requester) for reviewer, _ in one.signers):
                return True
        return False

    def is_initiator(self, requester):
        is_name = same_name(requester, self.user) and not self.user.startswith("system:")
        return is_name or any(r.is_user(requester) and r.is_user(self.user) for r in self.posture.reviewers)

    def use_state(self, candidate):
        subject = next(name for name, digest in candidate.statement.subjects if self.covered(name, digest))
        entry = self.entry(candidate, subject, "spec")
        held = self.held(entry)
        if held is None:
            return "free"
        mine = self.use()
        same = all(held[member] == mine[member] for member in ("object", "specHash"))
        if not same:
            return "used"
        old = _get(self.old.spec, "suspend") if self.old else None
        lets_go = self.kind == "Job" and old is True and self.object.spec.get("suspend") is not True
        if not lets_go or (held["starts"] and held["generation"] == mine["generation"]):
            return "free"
        if held["starts"]:
            return "used"
        started = self.held(self.entry(candidate, subject, "start"))
        return "free" if started is None or all(started[m] == mine[m] for m in mine) else "used"

    def entry(self, candidate, subject, phase):
        parts = digest_of(candidate.envelope.payload).digest() + digest_of(subject.encode()).digest()
        return "use-" + sha256(parts + self.hash[7:].encode() + phase.encode())

    def held(self, entry):
        return next((one["use"] for one in self.facts.get("uses", []) if one["use"]["entry"] == entry), None)

    def use(self):
        metadata = self.object.metadata
        name = metadata.get("name") or self.request.get("name")
        place = {"apiVersion": self.api_version, "kind": self.kind, "namespace": self.request["namespace"], "name": name}
        starts = not (self.kind == "Job" and self.object.spec.get("suspend") is True)
        object_ = {**place, "uid": metadata.get("uid")}
        return {"object": object_, "specHash": self.hash, "generation": metadata.get("generation"), "starts": starts}

    def spend(self):
        return ["AlreadyUsed"] if any(self.use_state(one) == "used" for one in self.given) else []

    def covered(self, name, digest):
        object_name = self.object.metadata.get("name") or self.request.get("name") or ""
        generate = self.object.metadata.get("generateName", "")
        where = (self.api_version, self.kind, self.request["namespace"], self.operation)
        return f"sha256:{digest}" == self.hash and subject_covers(name, *where, object_name, generate)

    def roll_back(self, reasons, basis, own):
        if not reasons or "Revoked" in reasons or own or self.action != "deploy":
            return reasons, basis
        if not self.posture.rollback and not self.wakes_up:
            return reasons, basis
        history = self.facts.get("history", {"admissions": []})
        if "error" in history:
            return [*reasons, "LookupFailed"], None
        within, revisions = (timedelta.max, 64) if self.wakes_up else self.posture.rollback
        claims = {name: self.object.annotations[name] for name in BOUND if name in self.object.annotations}
        seen = []
        for past in history["admissions"]:
            if past["specHash"] not in seen:
                seen.append(past["specHash"])
            if len(seen) > revisions:
                break
            same = (past["specHash"], past.get("cluster"), past["environment"], past["project"], past["claims"])
            age = self.now - datetime.strptime(past["time"], "%Y-%m-%dT%H:%M:%SZ")
            if same == (self.hash, self.posture.cluster, self.environment, self.project, claims) and age < within:
                if failures := self.failures_today(past):
                    return [*reasons, *failures], None
                self.result["approvals"] = [one["id"] for one in past["approvals"]]
                return [], "rollback"
        return reasons, basis

    def failures_today(self, past):
        """Why the approvals of an earlier admission are not enough today, apart from the time."""
        (rule, capabilities), failures = self.terms, []
        if any(map(self.is_revoked, past["approvals"])):
            failures.append("Revoked")
        if any(set(capabilities) - set(one["capabilities"]) for one in past["approvals"]):
            failures.append("InsufficientCapabilities")
        eligible, set_aside, requester = [], [], past.get("requestedBy") or ""
        for reviewer in self.posture.reviewers:
            if reviewer.name not in past["counted"]:
                continue
            elsewhere = reviewer.projects is not None and self.project not in reviewer.projects
            codes = []
            if elsewhere or not all(any(covers(grant, one) for grant in reviewer.grants) for one in capabilities):
                codes.append("InsufficientCapabilities")
            if self.posture.duties != "off" and reviewer.is_user(requester):
                codes.append("SelfApproval")
            set_aside += codes
            if not codes:
                eligible.append(reviewer)
        if not eligible and set_aside:
            return failures + set_aside
        places = [group for group, count in rule.quorum for _ in range(count)]
        known = past["requesterProven"] or len(eligible) >= 2 or self.is_initiator(requester)
        if not _fills(places, eligible) or (self.posture.duties == "proven" and not known):
            failures.append("QuorumNotMet")
        return failures

    def is_revoked(self, approval):
        has = self.posture.revocations.has
        return has("approvals", approval["id"], self.now) or any(has("keys", k, self.now) for k in approval["keyIds"])

    def meets(self, contract):
        return images.meets_dry_run(self.object.spec, contract, self.posture)


def _fills(places, people):
    """Whether some assignment of people fills every position of the quorum."""
    if not places:
        return True
    group, *rest = places
    for index, person in enumerate(people):
        if (group is None or group in person.groups) and _fills(rest, people[:index] + people[index + 1 :]):
            return True
    return False


class Candidate:
    """One approval, checked by itself. `reasons` are pairs of a code and a row."""

    def __init__(self, decision, text, budget):
        self.statement, self.signers, self.counting = None, [], []
        posture = decision.posture
        try:
            self.envelope = Envelope(text)
            keys = self.envelope.verify(posture.keys, budget)
            statement = Statement(self.envelope.payload)
        except Failed as failed:
            row = 5.5 if failed.stage == "statement" else ROW[failed.reason]
            self.reasons = [(failed.reason, row)]
            return
        self.statement, self.signers = statement, [posture.owner(key) for key in keys]
        emergency = statement.break_glass and decision.emergency
        self.terms, self.capabilities = decision.emergency if emergency else decision.terms
        codes = self.claims(decision)
        reasons_of_keys = []
        for reviewer, key in self.signers:
            found = self.key_reasons(decision, reviewer, key)
            reasons_of_keys += found
            if not found and reviewer not in self.counting:
                self.counting.append(reviewer)
        if not self.counting:
            codes += reasons_of_keys
        self.reasons = [(code, ROW[code]) for code in codes]

    @property
    def passes(self):
        return not self.reasons

    def claims(self, decision):
        claim, posture, now, codes = self.statement.predicate, decision.posture, decision.now, []
        hashed = [name for name, digest in self.statement.subjects if f"sha256:{digest}" == decision.hash]
        if not hashed:
            codes.append("SpecHashMismatch")
        elif not any(decision.covered(name, decision.hash[7:]) for name in hashed):
            codes.append("WrongResource")
        for code, found, wanted in (
            ("WrongEnvironment", claim["environment"], decision.environment),
            ("WrongCluster", posture.cluster in claim.get("clusters", [claim.get("cluster")]), True),
            ("WrongProject", claim["project"], decision.project),
            ("WrongAction", claim["action"], decision.action),
        ):
            if found != wanted:
                codes.append(code)
        if self.statement.break_glass and not posture.emergency:
            codes.append("WrongAction")
        if now < self.statement.not_before:
            codes.append("NotYetValid")
        if now >= self.statement.expires_at and not decision.wakes_up:
            codes.append("Expired")
        if not decision.wakes_up and self.statement.expires_at - self.statement.not_before > self.terms.max_lifetime:
            codes.append("LifetimeTooLong")
        if posture.revocations.has("approvals", claim["id"], now):
            codes.append("Revoked")
        if any(capability not in claim["capabilities"] for capability in self.capabilities):
            codes.append("InsufficientCapabilities")
        executes = decision.action == "replay-execute"

        def differs(value, name, required):
            return required if value is None else value != decision.annotation(name)

        bundled = posture.bundle_required and decision.action != "replay-dry-run"
        if differs(claim.get("pipelineVersion"), "pipeline-version", posture.version_required):
            codes.append("PipelineVersionMismatch")
        if differs(claim.get("configBundle"), "config-bundle", bundled):
            codes.append("ConfigBundleMismatch")
        replay = claim.get("replay")
        if replay is None:
            return codes + (["IncidentMismatch"] if executes else [])
        if differs(replay.get("sourceEnvironment"), "source-environment", executes):
            codes.append("SourceEnvironmentMismatch")
        if differs(replay.get("sourceArtifact"), "source-artifact", False):
            codes.append("SourceArtifactMismatch")
        hash_differs = differs(replay.get("incidentSpecHash"), "incident-spec-hash", False)
        if differs(replay.get("incident"), "incident", executes) or hash_differs:
            codes.append("IncidentMismatch")
        return codes

    def key_reasons(self, decision, reviewer, key):
        posture, now, codes = decision.posture, decision.now, []
        if now < key.not_before:
            codes.append("NotYetValid")
        if now >= key.not_after and not decision.wakes_up:
            codes.append("Expired")
        if posture.revocations.has("keys", key.key.id, now):
            codes.append("Revoked")
        elsewhere = reviewer.projects is not None and decision.project not in reviewer.projects
        granted = all(any(covers(grant, capability) for grant in reviewer.grants) for capability in self.capabilities)
        if elsewhere or not granted:
            codes.append("InsufficientCapabilities")
        requester = self.statement.predicate["requestedBy"]
        if posture.duties != "off" and (reviewer.is_user(requester) or reviewer.is_user(decision.user)):
            codes.append("SelfApproval")
        return codes
