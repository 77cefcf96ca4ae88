"""Strict JSON, the canonical form, and the small encodings of docs/spec/README.md."""

import base64
import binascii
import hashlib
import math
import re
from datetime import datetime
from fractions import Fraction


class Refused(Exception):
    """The input breaks a rule of the specification."""


class Number:
    """A JSON number as it is written."""

    def __init__(self, text):
        self.text = text

    @property
    def value(self):
        return float(self.text)

    @property
    def is_integer_literal(self):
        return re.fullmatch(r"-?[0-9]+", self.text) is not None

    @property
    def whole(self):
        """The integer that the number denotes, or None."""
        exact = Fraction(self.text)
        return exact.numerator if exact.denominator == 1 else None


class Members(list):
    """An object's members, in the order of the text."""


_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class _Reader:
    def __init__(self, text, max_depth):
        self.text, self.at, self.depth, self.max_depth = text, 0, 0, max_depth

    def space(self):
        self.at = _SPACE.match(self.text, self.at).end()

    def take(self, token):
        if not self.text.startswith(token, self.at):
            raise Refused(f"expected {token!r} at {self.at}")
        self.at += len(token)

    def peek(self):
        return self.text[self.at : self.at + 1]

    def value(self):
        self.space()
        start = self.peek()
        if start == "{":
            return self.nested(self.object)
        if start == "[":
            return self.nested(self.array)
        if start == '"':
            return self.string()
        for word, meaning in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meaning
        found = _NUMBER.match(self.text, self.at)
        if not found:
            raise Refused(f"expected a value at {self.at}")
        self.at = found.end()
        return Number(found.group())

    def nested(self, read):
        self.depth += 1
        if self.depth > self.max_depth:
            raise Refused("nested too deeply")
        value = read()
        self.depth -= 1
        return value

    def object(self):
        self.take("{")
        members = Members()
        self.space()
        if self.peek() == "}":
            self.at += 1
            return members
        while True:
            self.space()
            name = self.string()
            self.space()
            self.take(":")
            members.append((name, self.value()))
            self.space()
            if self.peek() == ",":
                self.at += 1
                continue
            self.take("}")
            return members

    def array(self):
        self.take("[")
        items = []
        self.space()
        if self.peek() == "]":
            self.at += 1
            return items
        while True:
            items.append(self.value())
            self.space()
            if self.peek() == ",":
                self.at += 1
                continue
            self.take("]")
            return items

    def string(self):
        self.take('"')
        out = []
        while True:
            char = self.peek()
            self.at += 1
            if char == "" or (char < " "):
                raise Refused("a string that does not end, or a raw control character")
            if char == '"':
                return "".join(out)
            if char != "\\":
                out.append(char)
                continue
            escape = self.peek()
            self.at += 1
            if escape in _ESCAPES and escape:
                out.append(_ESCAPES[escape])
            elif escape == "u":
                out.append(self.unicode_escape())
            else:
                raise Refused("an escape that JSON does not know")

    def hex4(self):
        digits = self.text[self.at : self.at + 4]
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise Refused("an escape without four digits")
        self.at += 4
        return int(digits, 16)

    def unicode_escape(self):
        unit = self.hex4()
        if 0xDC00 <= unit <= 0xDFFF:
            raise Refused("a lone surrogate")
        if 0xD800 <= unit <= 0xDBFF:
            self.take("\\u")
            low = self.hex4()
            if not 0xDC00 <= low <= 0xDFFF:
                raise Refused("a lone surrogate")
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        return chr(unit)


def parse_members(text, max_depth=128):
    """One JSON value, with the members of objects as lists of pairs."""
    reader = _Reader(text, max_depth)
    value = reader.value()
    reader.space()
    if reader.at != len(text):
        raise Refused("text after the value")
    return value


def _strict(value):
    if isinstance(value, Members):
        result = {}
        for name, member in value:
            if name in result:
                raise Refused(f"the member {name!r} is there twice")
            result[name] = _strict(member)
        return result
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, Number):
        if value.is_integer_literal:
            if abs(int(value.text)) > 2**53:
                raise Refused("an integer beyond 2^53")
            return int(value.text)
        if math.isinf(value.value) or abs(value.value) > 2**53:
            raise Refused("a number beyond 2^53")
        return value.value
    return value


def strict_json(text):
    """docs/spec/README.md, Strict JSON: the value with objects as dicts."""
    return _strict(parse_members(text, max_depth=127))


def canonical_number(number):
    """The canonical text of an exact number."""
    value = number.value
    if math.isinf(value) or abs(value) > 2**53:
        raise Refused(f"{number.text} is beyond 2^53")
    text = ecmascript(value)
    if Fraction(text) != Fraction(number.text):
        raise Refused(f"{number.text} is not exact")
    return text


def ecmascript(value):
    """ECMAScript's Number::toString of a finite double."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, exponent = f"{abs(value):.17e}".split("e")
    # repr has the shortest digits that give the same double back.
    shortest = repr(abs(value))
    digits, _, power = shortest.partition("e")
    whole, _, fraction = digits.partition(".")
    point = len(whole) + int(power or "0")
    digits = (whole + ("" if fraction == "0" and not power else fraction)).lstrip("0")
    point -= len(whole + ("" if fraction == "0" and not power else fraction)) - len(digits)
    stripped = digits.rstrip("0")
    k, n = len(stripped), point
    digits = stripped
    if k <= n <= 21:
        return sign + digits + "0" * (n - k)
    if 0 < n <= 21:
        return sign + digits[:n] + "." + digits[n:]
    if -6 < n <= 0:
        return sign + "0." + "0" * -n + digits
    e = n - 1
    e_text = f"e{'+' if e >= 0 else '-'}{abs(e)}"
    return sign + (digits if k == 1 else digits[0] + "." + digits[1:]) + e_text


def canonical_string(text):
    out = ['"']
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char < " ":
            short = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
            out.append(short or f"\\u{ord(char):04x}")
        else:
            out.append(char)
    return "".join(out) + '"'


def canonical(value):
    """The canonical form of a value from `parse_members`, or of plain Python values."""
    if isinstance(value, dict):
        value = Members(value.items())
    if isinstance(value, Members):
        names = [name for name, _ in value]
        if len(set(names)) != len(names):
            raise Refused("a member is there twice")
        ordered = sorted(value, key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(canonical_string(name) + ":" + canonical(member) for name, member in ordered) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, Number):
        return canonical_number(value)
    if isinstance(value, int):
        return canonical_number(Number(str(value)))
    return canonical_number(Number(repr(value)))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def pae(payload_type, payload):
    """The pre-authentication encoding of DSSE v1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def base64_bytes(text):
    """Canonical standard base64 with padding."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError, UnicodeEncodeError) as error:
        raise Refused("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Refused("base64 with other bits or padding")
    return data


# The characters with the Unicode property White_Space.
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def has_outer_space(text):
    return text != text.strip(WHITE_SPACE)


def is_digest(text):
    return isinstance(text, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", text) is not None


def is_uuid7(text):
    pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None


def time(text):
    """A time of an approval or a posture."""
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text, re.ASCII):
        raise Refused(f"{text!r} is not a time")
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError as error:
        raise Refused(f"{text!r} is not a time") from error
    if moment > datetime(9999, 12, 30, 22):
        raise Refused(f"{text!r} is after the last time")
    return moment
