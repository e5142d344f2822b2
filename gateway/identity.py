"""Who asks: signed access tokens in, ``Actor`` out."""

import base64
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from gateway.settings import settings
from services.contracts.actor import Actor
from services.contracts.errors import Unauthenticated

ALGORITHM = "HS256"
TYPE = "at+jwt"
ISSUER = AUDIENCE = "sidan"
LEEWAY = 30  # seconds
CACHED = 10_000
MAX_TOKEN = 4096  # characters


@dataclass(slots=True, frozen=True)
class Claimed:
    """What a token says. ``stamp`` belongs to the password that it was issued for."""

    actor: Actor
    stamp: str
    expires: float


class Tokens:
    """Issues and reads tokens; a token that was read once is not verified again until it ends."""

    def __init__(self) -> None:
        self._key = OctKey.import_key(base64.urlsafe_b64decode(settings().token_secret.get_secret_value()))
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
        )
        self._read: OrderedDict[str, Claimed] = OrderedDict()

    def issue(self, account: dict[str, Any]) -> str:
        time_ = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": account["id"], "iat": time_,
            "exp": time_ + settings().token_seconds, "name": account["name"], "roles": account["roles"],
            "site": account["site"], "volunteer": account["volunteer"], "stamp": account["stamp"],
        }  # fmt: skip
        return jwt.encode({"alg": ALGORITHM, "typ": TYPE}, claims, self._key)

    def read(self, token: str) -> Claimed:
        """Raise ``Unauthenticated`` for a token that is forged, foreign or expired."""
        known = self._read.get(token)
        if known is None or known.expires < time.time():
            known = self._verify(token)
            self._read[token] = known
            while len(self._read) > CACHED:
                self._read.popitem(last=False)
        return known

    def _verify(self, token: str) -> Claimed:
        if len(token) > MAX_TOKEN:
            raise Unauthenticated("登录凭证无效，请重新登录")
        try:
            read = jwt.decode(token, self._key, algorithms=[ALGORITHM])
            if read.header.get("typ") != TYPE:
                raise ValueError("no access token")
            claims = read.claims
            self._claims.validate(claims)
            actor = Actor(id=claims["sub"], **{k: claims[k] for k in ("name", "roles", "site", "volunteer")})
            return Claimed(actor, str(claims["stamp"]), float(claims["exp"]))
        except (JoseError, ValueError, KeyError, TypeError):
            raise Unauthenticated("登录凭证无效或已过期，请重新登录") from None


def bearer(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("请先登录：需要 Authorization: Bearer 令牌")
    return token.strip()
