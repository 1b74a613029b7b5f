"""The other side of differential.rs, as differential.mjs, with PyJWT, and Authlib for minting.

    python3 differential.py          with PYTHONPATH naming a folder that holds pyjwt[crypto] and authlib
"""
import json
import sys
import datetime

import jwt
import jwt.api_jwt
from authlib.jose import JsonWebToken

NOW = datetime.datetime.fromtimestamp(1_800_000_000, tz=datetime.timezone.utc)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


jwt.api_jwt.datetime = Clock
keys = {}


def unbase64(text):
    return jwt.utils.base64url_decode(text)


def answer(asked):
    if "jwks" in asked:
        for name, jwk in asked["jwks"].items():
            keys[name] = jwt.PyJWK(jwk, name).key
        return "ok"
    if "mint" in asked:
        key = unbase64(asked["secret"]) if asked.get("secret") else asked["pem"]
        header = {"alg": asked["mint"], "typ": "at+jwt", "kid": asked["mint"]}
        if asked.get("by") == "authlib":
            return JsonWebToken([asked["mint"]]).encode(header, asked["claims"], key).decode()
        return jwt.encode(asked["claims"], key, algorithm=asked["mint"], headers=header)
    try:
        jwt.decode(
            asked["token"], keys[asked["alg"]], algorithms=[asked["alg"]], audience="api",
            issuer="https://issuer.example", leeway=60, options={"require": ["exp"]},
        )
        return "1"
    except Exception:
        return "0"


for line in sys.stdin:
    print(answer(json.loads(line)), flush=True)
