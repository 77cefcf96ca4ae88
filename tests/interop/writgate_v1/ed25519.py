"""Strict Ed25519 verification as in docs/spec/approval-v1.md, written for clarity and not for speed."""

import base64
import hashlib
import re

from .encoding import Refused, sha256

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SPKI = bytes.fromhex("302a300506032b6570032100")
SMALL_ORDER = {
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
}


def _add(p, q):
    x1, y1, z1, t1 = p
    x2, y2, z2, t2 = q
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _encode(point):
    x, y, z, _ = point
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decode(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        raise Refused("the encoding of the point is not canonical")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        raise Refused("not a point on the curve")
    if x == 0 and sign:
        raise Refused("the encoding of the point is not canonical")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = _decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


class PublicKey:
    """An Ed25519 public key with its id."""

    def __init__(self, pem):
        blocks = re.findall(r"-----BEGIN ([^-]*)-----(.*?)-----END ([^-]*)-----", pem, re.DOTALL)
        if len(blocks) != 1 or blocks[0][0] != "PUBLIC KEY" or blocks[0][2] != "PUBLIC KEY":
            raise Refused("not one PEM block PUBLIC KEY")
        try:
            der = base64.b64decode("".join(blocks[0][1].split()), validate=True)
        except ValueError as error:
            raise Refused("not PEM") from error
        if len(der) != 44 or der[:12] != SPKI:
            raise Refused("not the SubjectPublicKeyInfo of an Ed25519 key")
        self.point_bytes = der[12:]
        if self.point_bytes in SMALL_ORDER:
            raise Refused("a point of small order")
        self.point = _decode(self.point_bytes)
        self.id = sha256(der)

    def verifies(self, message, signature):
        """Whether `signature` is this key's over `message`, strictly and without the cofactor."""
        if len(signature) != 64:
            return False
        r, s = signature[:32], int.from_bytes(signature[32:], "little")
        if s >= ORDER or r in SMALL_ORDER:
            return False
        k = int.from_bytes(hashlib.sha512(r + self.point_bytes + message).digest(), "little") % ORDER
        x, y, z, t = self.point
        minus = (-x % P, y, z, -t % P)
        return _encode(_add(_multiply(s, BASE), _multiply(k, minus))) == r
