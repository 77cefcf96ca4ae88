"""docs/spec/spec-hash-v1.md, The hash of a manifest: reading, shape, defaults."""

import re
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import yaml

from .encoding import WHITE_SPACE, Number, Refused, ecmascript, strict_json

MAX_EXACT = 2**53
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


# Reading


def read(text):
    """The values of a text, as kubectl reads it."""
    if text.lstrip(WHITE_SPACE).startswith("{"):
        try:
            return [strict_json(text)]
        except Refused:
            pass
    try:
        loader = yaml.SafeLoader(text)
        values = []
        while loader.check_node():
            node = loader.get_node()
            if not _is_empty(node):
                values.append(_value(node))
        return values
    except yaml.YAMLError as error:
        raise Refused(str(error)) from error


def _is_empty(node):
    return isinstance(node, yaml.ScalarNode) and node.style is None and _plain(node.value) is None


def _plain(text):
    """The value of a plain scalar without a tag."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    lower = text.lower()
    if lower in _BOOLEANS and text in (lower, lower.capitalize(), lower.upper()):
        return _BOOLEANS[lower]
    integer = _integer(text)
    if integer is not None:
        return _bounded(integer)
    if re.fullmatch(r"[+-]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        raise Refused(f"{text} is not a number of JSON")
    if re.fullmatch(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?", text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise Refused(f"{text} is infinite")
        return _bounded(int(value) if value == int(value) else value)
    return text


def _integer(text):
    if "__" in text or text.endswith("_") or text.startswith("_"):
        return None
    found = re.fullmatch(r"([+-]?)(0[xX]([0-9a-fA-F_]+)|0[oO]([0-7_]+)|0[bB]([01_]+)|(0[0-7_]+)|([0-9][0-9_]*))", text)
    if not found:
        return None
    sign = -1 if found.group(1) == "-" else 1
    for group, base in ((3, 16), (4, 8), (5, 2), (6, 8), (7, 10)):
        if found.group(group) is not None:
            return sign * int(found.group(group).replace("_", ""), base)
    return None


def _bounded(number):
    if abs(number) > MAX_EXACT:
        raise Refused(f"{number} is beyond 2^53")
    return number


def _value(node):
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        _known_tag(node, "tag:yaml.org,2002:seq")
        return [_value(item) for item in node.value]
    _known_tag(node, "tag:yaml.org,2002:map")
    return _mapping(node)


def _known_tag(node, expected):
    if node.tag not in (expected, "!"):
        raise Refused(f"the tag {node.tag}")


def _scalar(node):
    tag = node.tag
    implicit = node.style is None and tag == yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (True, False))
    if node.style is not None and tag == "tag:yaml.org,2002:str" or tag == "!":
        return node.value
    if tag == "tag:yaml.org,2002:str" and not implicit:
        return node.value
    if implicit:
        return _plain(node.value)
    plain = _plain(node.value)
    kind = tag.removeprefix("tag:yaml.org,2002:")
    fits = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
    if kind == "str":
        return node.value
    if kind in fits and isinstance(plain, fits[kind]):
        return plain
    raise Refused(f"the tag {tag}")


def _mapping(node):
    own, merged = {}, {}
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if not isinstance(source, yaml.MappingNode):
                    raise Refused("a merge of something else than a mapping")
                for name, value in _mapping(source).items():
                    merged.setdefault(name, value)
            continue
        name = _key(key_node)
        if name in own:
            raise Refused(f"the key {name!r} is there twice")
        own[name] = _value(value_node)
    return {**merged, **own}


def _key(node):
    if not isinstance(node, yaml.ScalarNode):
        raise Refused("a key that is no scalar")
    plain = node.style is None and node.tag != "!"
    value = {"y": True, "Y": True, "n": False, "N": False}.get(node.value) if plain else None
    if value is None:
        value = _scalar(node)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    raise Refused("a key that is null or a fraction")


# Quantities

_DECIMAL = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(value, thousandths=False):
    """A quantity as the API server writes it."""
    if value is None:
        text = "0"
    elif isinstance(value, bool):
        raise Refused("a boolean is no quantity")
    elif isinstance(value, (int, float)):
        text = ecmascript(float(value))
    elif isinstance(value, str):
        text = value.strip(WHITE_SPACE)
    else:
        raise Refused("not a quantity")
    found = re.fullmatch(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(|[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)", text, re.ASCII)
    if not found or text == "":
        raise Refused(f"{text!r} is not a quantity")
    sign, digits, fraction, suffix = found.group(1), found.group(2), found.group(3) or "", found.group(4)
    whole = digits.lstrip("0")
    is_binary = suffix in _BINARY
    is_exponent = suffix not in _BINARY and suffix not in _DECIMAL
    power = _BINARY.get(suffix, _DECIMAL.get(suffix, 0))
    if is_exponent:
        power = int(suffix[1:])
        if abs(power) > 1000:
            raise Refused("an exponent beyond 1000")
    if is_binary:
        small = fraction == "" and max(len(whole), 1) + 3 * power // 10 < 15
    else:
        small = max(len(whole), 1) + len(fraction) <= 18 and power - len(fraction) >= -9
    if not small and digits == "" and fraction == "":
        raise Refused(f"{text!r} has no digits")
    scale = Fraction(2) ** power if is_binary else Fraction(10) ** power
    exact = Fraction(int((whole + fraction) or "0"), 10 ** len(fraction)) * scale
    exact = -exact if sign == "-" else exact
    whole_thousandths = (exact * 1000).denominator == 1
    if small and (whole_thousandths or not thousandths):
        if is_binary and int(whole[-3:] or "0") % 8:
            return text
        if (
            not is_binary
            and (power - len(fraction)) % 3 == 0
            and whole
            and not (whole + fraction).endswith("000")
        ):
            return text
    return _written(_away(exact, 1000 if thousandths else 10**9), is_binary, is_exponent)


def _away(value, parts):
    """Rounded away from zero to a multiple of 1/parts, as an exact value."""
    nano = _up(abs(value) * 10**9)
    rounded = Fraction(_up(Fraction(nano, 10**9) * parts), parts)
    return -rounded if value < 0 else rounded


def _up(value):
    return -((-value.numerator) // value.denominator) if isinstance(value, Fraction) else value


def _written(value, is_binary, is_exponent):
    negative, magnitude = value < 0, abs(value)
    if is_binary:
        magnitude = min(magnitude, Fraction(2**63 - 1))
        if magnitude < 1:
            is_binary = False
    if magnitude == 0:
        return "0"
    sign = "-" if negative else ""
    if is_binary and magnitude.denominator == 1 and magnitude >= 1024:
        number, power = int(magnitude), 0
        while number % 1024 == 0:
            number, power = number // 1024, power + 10
        suffix = {value: name for name, value in _BINARY.items()}.get(power, "")
        return f"{sign}{number}{suffix}"
    number, power = magnitude, 0
    while number.denominator != 1:
        number, power = number * 10, power - 1
    number = int(number)
    while number % 10 == 0:
        number, power = number // 10, power + 1
    while power % 3:
        number, power = number * 10, power - 1
    if is_exponent:
        return f"{sign}{number}" + (f"e{power}" if power else "")
    suffix = {value: name for name, value in _DECIMAL.items()}.get(power, "")
    return f"{sign}{number}{suffix}"


# Shape

ABSENT = object()


class Shapes:
    """The table of fields of docs/spec/spec-hash-v1/fields.json."""

    def __init__(self, table):
        self.kinds, self.types = table["kinds"], table["types"]

    def shape(self, type_, value):
        if type_.startswith("list of "):
            return self._list(type_.removeprefix("list of "), value)
        if type_.startswith("map of "):
            return self._map(type_.removeprefix("map of "), value)
        scalar = getattr(self, "_" + type_.replace("-", "_"), None)
        if type_ not in self.types and scalar:
            return scalar(value)
        return self._struct(type_, value)

    def zero(self, type_):
        zeros = {"string": "", "bool": False, "int32": 0, "int64": 0, "int-or-string": 0, "quantity": "0"}
        if type_ in zeros:
            return zeros[type_]
        if type_ in self.types:
            return self._struct(type_, {})
        return None

    def _struct(self, type_, value):
        if not isinstance(value, dict):
            raise Refused(f"{type_} is not an object")
        shaped = dict(value)
        for field in self.types[type_]:
            written = self._field(field, value.get(field["name"], ABSENT))
            shaped.pop(field["name"], None)
            if written is not ABSENT:
                shaped[field["name"]] = written
        return shaped

    def _field(self, field, value):
        type_, rule = field["type"], field["rule"]
        missing = value is ABSENT or value is None
        if type_ == "quantity" and value is None and rule != "pointer":
            missing = False
        if rule == "gated":
            if not missing:
                self.shape(type_, value)
            return ABSENT
        if rule == "always":
            return self.zero(type_) if missing else self.shape(type_, value)
        if rule == "nullable":
            return None if missing else self.shape(type_, value)
        if missing:
            return ABSENT
        shaped = self.shape(type_, value)
        if rule == "non-zero" and (shaped is None or shaped is False or shaped in ("", 0, [], {})):
            return ABSENT
        return shaped

    def _list(self, type_, value):
        if not isinstance(value, list):
            raise Refused("not an array")
        return [self.zero(type_) if item is None else self.shape(type_, item) for item in value]

    def _map(self, type_, value):
        if not isinstance(value, dict):
            raise Refused("not an object")
        return {name: self.zero(type_) if item is None else self.shape(type_, item) for name, item in value.items()}

    def _string(self, value):
        if not isinstance(value, str):
            raise Refused("not a string")
        return value

    def _bool(self, value):
        if value in ("y", "Y", "n", "N") and isinstance(value, str):
            return value in "yY"
        if not isinstance(value, bool):
            raise Refused("not a boolean")
        return value

    def _integer(self, value, bits):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
            raise Refused("not a whole number")
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise Refused("out of range")
        return int(value)

    def _int32(self, value):
        return self._integer(value, 32)

    def _int64(self, value):
        return self._integer(value, 64)

    def _int_or_string(self, value):
        return value if isinstance(value, str) else self._int32(value)

    def _quantity(self, value):
        return quantity(value)

    def _resources(self, value):
        if not isinstance(value, dict):
            raise Refused("not an object")
        return {name: quantity(item, thousandths=True) for name, item in value.items()}

    def _time(self, value):
        return time(self._string(value))

    def _any(self, value):
        return value


def time(text):
    """An RFC 3339 time in UTC, without its fraction."""
    shape = r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(Z|([+-])(\d\d):(\d\d))"
    found = re.fullmatch(shape, text, re.ASCII)
    if not found:
        raise Refused(f"{text!r} is not a time")
    try:
        moment = datetime.strptime(f"{found.group(1)} {found.group(2)}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
        if found.group(4):
            offset = timedelta(hours=int(found.group(5)), minutes=int(found.group(6)))
            moment += -offset if found.group(4) == "+" else offset
    except (ValueError, OverflowError) as error:
        raise Refused(f"{text!r} is not a time") from error
    written = f"{moment.year:04}-{moment.month:02}-{moment.day:02}T{moment:%H:%M:%S}Z"
    return None if written == "0001-01-01T00:00:00Z" else written


# Defaults


def _object(value, *path):
    """The object at `path`, or an empty one that changes nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _each(value, *path):
    *path, last = path
    found = _object(value, *path).get(last)
    return found if isinstance(found, list) else []


def _set(value, /, **members):
    """Sets members of an object that are absent."""
    for name, member in members.items():
        value.setdefault(name, member)


def _set_in(value, path, /, **members):
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        _set(value, **members)


def fill_defaults(kind, spec):
    if kind == "ReplicationController":
        labels = _object(spec, "template", "metadata").get("labels")
        if labels is not None:
            _set(spec, selector=dict(labels))
    if kind == "StatefulSet":
        _stateful_set(spec)
    if kind == "Job":
        _job(spec)
    if kind == "CronJob":
        _set(spec, concurrencyPolicy="Allow")
        job = _object(spec, "jobTemplate", "spec")
        _failure_policy(job)
        _template(_object(job, "template"))
    else:
        _template(_object(spec, "template"))


def _stateful_set(spec):
    _set(spec, podManagementPolicy="OrderedReady")
    strategy = spec.get("updateStrategy")
    if isinstance(strategy, dict):
        if "type" not in strategy:
            strategy["type"] = "RollingUpdate"
            _set(strategy, rollingUpdate={})
        if strategy["type"] == "RollingUpdate":
            _set_in(strategy, ["rollingUpdate"], partition=0)
    _set(spec, persistentVolumeClaimRetentionPolicy={})
    _set_in(spec, ["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    for claim in _each(spec, "volumeClaimTemplates"):
        claim.update(apiVersion="v1", kind="PersistentVolumeClaim")
        _set_in(claim, ["spec"], volumeMode="Filesystem")
        _set_in(claim, ["status"], phase="Pending")


def _job(spec):
    if "parallelism" not in spec:
        _set(spec, completions=1)
    _set(spec, parallelism=1)
    _set(spec, backoffLimit=2147483647 if "backoffLimitPerIndex" in spec else 6)
    _set(spec, completionMode="NonIndexed")
    _set(spec, podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    _set(spec, manualSelector=False)
    _failure_policy(spec)


def _failure_policy(spec):
    for rule in _each(spec, "podFailurePolicy", "rules"):
        for condition in _each(rule, "onPodConditions"):
            if condition.get("status") in (None, ""):
                condition["status"] = "True"


def _template(template):
    metadata = _object(template, "metadata")
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        for version in ("alpha", "beta"):
            annotations.pop(f"pod.{version}.kubernetes.io/init-container-statuses", None)
            annotations.pop(f"pod.{version}.kubernetes.io/init-containers", None)
        if not annotations:
            del metadata["annotations"]
    spec = template.get("spec")
    if not isinstance(spec, dict):
        return
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    _set(
        spec,
        dnsPolicy="ClusterFirst",
        restartPolicy="Always",
        securityContext={},
        terminationGracePeriodSeconds=30,
        schedulerName="default-scheduler",
    )
    for volume in _each(spec, "volumes"):
        _volume(volume)
    for list_ in ("initContainers", "containers", "ephemeralContainers"):
        for container in _each(spec, list_):
            _container(container)


def _container(container):
    _set(container, imagePullPolicy=pull_policy(container.get("image", "")))
    _set(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    for port in _each(container, "ports"):
        _set(port, protocol="TCP")
    for variable in _each(container, "env"):
        _set_in(variable, ["valueFrom", "fieldRef"], apiVersion="v1")
        _set_in(variable, ["valueFrom", "fileKeyRef"], optional=False)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        _set_in(container, [probe], timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
        _set_in(container, [probe, "httpGet"], path="/", scheme="HTTP")
        grpc = _object(container, probe).get("grpc")
        if isinstance(grpc, dict) and grpc.get("service") is None:
            grpc["service"] = ""
    for hook in ("postStart", "preStop"):
        _set_in(container, ["lifecycle", hook, "httpGet"], path="/", scheme="HTTP")
    lifecycle = container.get("lifecycle")
    if isinstance(lifecycle, dict) and "stopSignal" in lifecycle:
        del lifecycle["stopSignal"]
        if not lifecycle:
            del container["lifecycle"]


def _volume(volume):
    if not set(volume) - {"name"}:
        _set(volume, emptyDir={})
    image = volume.get("image")
    if isinstance(image, dict):
        _set(image, pullPolicy=pull_policy(image.get("reference", "")))
    _set_in(volume, ["hostPath"], type="")
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        _set_in(volume, [source], defaultMode=420)
    for item in _each(volume, "downwardAPI", "items"):
        _set_in(item, ["fieldRef"], apiVersion="v1")
    for source in _each(volume, "projected", "sources"):
        for item in _each(source, "downwardAPI", "items"):
            _set_in(item, ["fieldRef"], apiVersion="v1")
        _set_in(source, ["serviceAccountToken"], expirationSeconds=3600)
    _set_in(volume, ["ephemeral", "volumeClaimTemplate", "spec"], volumeMode="Filesystem")
    _set_in(volume, ["iscsi"], iscsiInterface="default")
    _set_in(volume, ["rbd"], pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    _set_in(volume, ["azureDisk"], cachingMode="ReadWrite", fsType="ext4", readOnly=False, kind="Shared")
    _set_in(volume, ["scaleIO"], storageMode="ThinProvisioned", fsType="xfs")


def pull_policy(image):
    reference = _reference(image)
    if reference is None:
        return "IfNotPresent"
    tag, digest = reference
    return "Always" if tag == "latest" or (tag is None and digest is None) else "IfNotPresent"


_SEGMENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}"


def _reference(image):
    """The tag and the digest of a valid reference, or None."""
    if re.fullmatch(r"[0-9a-f]{64}", image):
        return None
    name, at, digest = image.partition("@")
    if at and not re.fullmatch(_DIGEST, digest):
        return None
    tag = None
    head, colon, rest = name.rpartition(":")
    if colon and "/" not in rest:
        name, tag = head, rest
        if not re.fullmatch(_TAG, tag):
            return None
    domain, slash, path = name.partition("/")
    is_domain = slash and (domain == "localhost" or re.search(r"[.:A-Z]", domain))
    if is_domain and re.fullmatch(_DOMAIN, domain):
        pass
    elif is_domain and not re.fullmatch(_SEGMENT, domain):
        return None
    else:
        domain, path = "", name
    if not re.fullmatch(rf"{_SEGMENT}(?:/{_SEGMENT})*", path):
        return None
    is_official = "/" not in path and domain in ("", "docker.io", "index.docker.io")
    if len(path) + (8 if is_official else 0) > 255:
        return None
    return tag, digest if at else None


def admitted_spec(shapes, api_version, kind, spec):
    """The spec of a manifest as it will be at admission."""
    if not isinstance(spec, dict):
        raise Refused("spec is not an object")
    shaped = shapes.shape(shapes.kinds[kind], spec)
    fill_defaults(kind, shaped)
    return shaped


def with_members(value):
    """Plain values as `spec_hash` takes them."""
    from .encoding import Members

    if isinstance(value, dict):
        return Members((name, with_members(member)) for name, member in value.items())
    if isinstance(value, list):
        return [with_members(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Number(ecmascript(float(value)))
    return value
