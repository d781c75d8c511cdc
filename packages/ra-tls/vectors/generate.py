#!/usr/bin/env python3
"""Writes keys.json and guest-keys.json without using any code of this package.

HKDF, curve arithmetic, Keccak and deterministic ECDSA are written out from their specifications with Python's
standard library; `openssl` computes every HKDF a second time and the X25519 and Ed25519 public keys. Run it in this
directory; a changed output means that somebody's keys change.
"""
import hashlib
import hmac
import json
import subprocess
import tempfile

ORIGIN = (
    "Computed independently of this package by generate.py: HKDF-SHA256 from RFC 5869 with Python's hmac, compared "
    "with `openssl kdf HKDF`; points by affine arithmetic; X25519 and Ed25519 public keys by `openssl pkey`"
)


def hkdf(ikm, salt, info, length=32):
    prk = hmac.new(salt, ikm, hashlib.sha256).digest()
    out, block, i = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + block, i + 1
    return out[:length]


# RFC 5869, appendix A.1.
assert hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == (
    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
)


def derive(ikm, salt, info):
    mine = hkdf(ikm, salt, info)
    if info:  # openssl does not take an empty info on the command line
        args = ["digest:SHA256", "hexkey:" + ikm.hex(), "hexsalt:" + salt.hex(), "hexinfo:" + info.hex()]
        command = ["openssl", "kdf", "-keylen", "32", "-binary"]
        for arg in args:
            command += ["-kdfopt", arg]
        assert subprocess.run([*command, "HKDF"], capture_output=True, check=True).stdout == mine
    return mine


# FIPS 186 and SEC 2: p, a, Gx, Gy, n.
P256 = (
    0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF,
    -3,
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
K256 = (
    2**256 - 2**32 - 977,
    0,
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
)


def add(curve, a, b):
    p = curve[0]
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % p == 0:
            return None
        slope = (3 * a[0] * a[0] + curve[1]) * pow(2 * a[1], -1, p) % p
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, p) % p
    x = (slope * slope - a[0] - b[0]) % p
    return x, (slope * (a[0] - x) - a[1]) % p


def multiply(curve, k):
    result, point = None, (curve[2], curve[3])
    while k:
        if k & 1:
            result = add(curve, result, point)
        point, k = add(curve, point, point), k >> 1
    return result


def p256_point(scalar):
    x, y = multiply(P256, int.from_bytes(scalar, "big"))
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def k256_compressed(scalar):
    x, y = multiply(K256, int.from_bytes(scalar, "big"))
    return bytes([2 + (y & 1)]) + x.to_bytes(32, "big")


def p256_pkcs8(scalar):
    """RFC 5958 version 0 around RFC 5915 with the public key and without parameters: 138 bytes."""
    head = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"
    return bytes.fromhex(head) + scalar + bytes.fromhex("a14403420004") + p256_point(scalar)


def openssl_public(pkcs8_head, secret):
    with tempfile.NamedTemporaryFile() as f:
        f.write(bytes.fromhex(pkcs8_head) + secret)
        f.flush()
        command = ["openssl", "pkey", "-inform", "DER", "-in", f.name, "-pubout", "-outform", "DER"]
        return subprocess.run(command, capture_output=True, check=True).stdout[-32:]


def x25519_public(secret):
    return openssl_public("302e020100300506032b656e04220420", secret)


def ed25519_public(secret):
    return openssl_public("302e020100300506032b657004220420", secret)


def keccak256(data):
    """Keccak reference, rate 136, with the original 0x01 padding."""
    mask = 2**64 - 1
    data = bytearray(data) + b"\x01" + bytes(135 - len(data) % 136)
    data[-1] |= 0x80
    lanes = [[0] * 5 for _ in range(5)]

    def rotate(v, n):
        return ((v << n) | (v >> (64 - n))) & mask if n else v

    for start in range(0, len(data), 136):
        for i in range(17):
            lanes[i % 5][i // 5] ^= int.from_bytes(data[start + 8 * i : start + 8 * i + 8], "little")
        lfsr = 1
        for _ in range(24):
            c = [lanes[x][0] ^ lanes[x][1] ^ lanes[x][2] ^ lanes[x][3] ^ lanes[x][4] for x in range(5)]
            d = [c[(x + 4) % 5] ^ rotate(c[(x + 1) % 5], 1) for x in range(5)]
            lanes = [[lanes[x][y] ^ d[x] for y in range(5)] for x in range(5)]
            x, y, current = 1, 0, lanes[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                current, lanes[x][y] = lanes[x][y], rotate(current, (t + 1) * (t + 2) // 2 % 64)
            for y in range(5):
                row = [lanes[x][y] for x in range(5)]
                for x in range(5):
                    lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & mask & row[(x + 2) % 5])
            for j in range(7):
                lfsr = ((lfsr << 1) ^ ((lfsr >> 7) * 0x71)) % 256
                if lfsr & 2:
                    lanes[0][0] ^= 1 << ((1 << j) - 1)
    return b"".join(lanes[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def sign_recoverable(message, secret):
    """ECDSA with the nonce of RFC 6979, low s, recovery id last."""
    n, digest, d = K256[4], keccak256(message), int.from_bytes(secret, "big")
    reduced = (int.from_bytes(digest, "big") % n).to_bytes(32, "big")
    v, k = b"\x01" * 32, b"\x00" * 32
    for separator in (b"\x00", b"\x01"):
        k = hmac.new(k, v + separator + secret + reduced, hashlib.sha256).digest()
        v = hmac.new(k, v, hashlib.sha256).digest()
    v = hmac.new(k, v, hashlib.sha256).digest()
    nonce = int.from_bytes(v, "big")
    assert 0 < nonce < n
    x, y = multiply(K256, nonce)
    r = x % n
    s = pow(nonce, -1, n) * (int.from_bytes(digest, "big") + r * d) % n
    recovery = (y & 1) | (2 if x >= n else 0)
    if s > n // 2:
        s, recovery = n - s, recovery ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([recovery])


def prefixed(*texts):
    return b"".join(len(t.encode()).to_bytes(4, "big") + t.encode() for t in texts)


SALT = b"RATLS"
ROOTS = [hashlib.sha256(b"dstack test root 1").digest(), bytes(31) + b"\x01", (P256[4] - 1).to_bytes(32, "big")]
APPS = ["a1b2c3d4e5f60718293a4b5c6d7e8f9001122334", "00" * 20, "ff" * 20]
INSTANCES = ["0123456789abcdef0123456789abcdef01234567", "11" * 20, "22" * 20]
ROOTFS = ["5f" * 32, "00" * 32, hashlib.sha256(b"rootfs").hexdigest()]

keys = {"origin": ORIGIN + ". Derivations: docs/attestation.md, Keys (frozen)."}
keys |= {name: [] for name in ("app_key", "disk_key_v1", "disk_key_seed", "env_key", "tappd_derive_key")}
for root, app, instance, rootfs in zip(ROOTS, APPS, INSTANCES, ROOTFS):
    ids = {"root": root.hex(), "app_id": app}
    scalar = derive(root, SALT, app.encode() + b"app-key")
    keys["app_key"].append(ids | {"scalar": scalar.hex(), "public_point": p256_point(scalar).hex()})
    scalar = derive(root, SALT, app.encode() + instance.encode() + b"app-disk-crypt-key")
    keys["disk_key_v1"].append(ids | {"instance_id": instance, "key": scalar.hex()})
    scalar = derive(root, SALT, rootfs.encode() + app.encode() + instance.encode() + b"app-disk-crypt-key")
    keys["disk_key_seed"].append(ids | {"instance_id": instance, "rootfs_hash": rootfs, "key": p256_pkcs8(scalar).hex()})
    secret = derive(root, SALT, app.encode() + b"env-encrypt-key")
    keys["env_key"].append(ids | {"secret": secret.hex(), "public_key": x25519_public(secret).hex()})
for root, path in zip(ROOTS, ["", "/", "app/pfad/\u00e4\u00f6\u00fc/\U0001f511"]):
    scalar = derive(root, SALT, path.encode())
    point = p256_point(scalar).hex()
    keys["tappd_derive_key"].append({"app_key": root.hex(), "path": path, "scalar": scalar.hex(), "public_point": point})

guest = {
    "origin": ORIGIN
    + "; signatures by RFC 6979 over a written-out Keccak. v0 and the signed messages follow the published guest agent"
    " and KMS (HKDF with salt RATLS; dstack-kms-issued); v1 and the secp256k1 root are this project's own."
}
guest |= {name: [] for name in ("k256_root", "k256_app_key", "v0", "v1")}


def guest_public(algorithm, secret):
    return k256_compressed(secret) if algorithm == "secp256k1" else ed25519_public(secret)


for root, app in zip(ROOTS, APPS):
    top = derive(root, b"dstack-kms-v1", prefixed("k256-root-key"))
    guest["k256_root"].append({"root": root.hex(), "key": top.hex(), "public_key": k256_compressed(top).hex()})
    app_bytes = bytes.fromhex(app)
    app_key = derive(top, SALT, app_bytes + b"app-key")
    public = k256_compressed(app_key)
    signature = sign_recoverable(b"dstack-kms-issued:" + app_bytes + public, top)
    guest["k256_app_key"].append(
        {"k256_root": top.hex(), "app_id": app, "key": app_key.hex(), "public_key": public.hex(), "signature": signature.hex()}
    )
    for path, purpose, algorithm in [("wallet/1", "signing", "secp256k1"), ("wallet/1", "signing", "ed25519"), ("", "", "secp256k1")]:
        key = derive(app_key, SALT, path.encode())
        public = guest_public(algorithm, key)
        link = sign_recoverable(f"{purpose}:{public.hex()}".encode(), app_key)
        guest["v0"].append(
            {"app_key": app_key.hex(), "path": path, "purpose": purpose, "algorithm": algorithm}
            | {"key": key.hex(), "public_key": public.hex(), "link": link.hex()}
        )
    for path, purpose, algorithm, epoch in [
        ("wallet/1", "signing", "secp256k1", 0),
        ("wallet/1", "signing", "ed25519", 0),
        ("wallet/1", "", "secp256k1", 7),
    ]:
        key = derive(app_key, b"dstack-guest-v1", prefixed("guest-key", path, purpose, algorithm, str(epoch)))
        guest["v1"].append(
            {"app_key": app_key.hex(), "path": path, "purpose": purpose, "algorithm": algorithm, "epoch": epoch}
            | {"key": key.hex(), "public_key": guest_public(algorithm, key).hex()}
        )

for name, content in [("keys.json", keys), ("guest-keys.json", guest)]:
    with open(name, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
