"""The one router: which of two models answers for a key.

A keyed hash gives each key a place between 0 and 1 that is fixed for a release. The canary takes
the places below its weight, so a key stays with the canary when the weight grows (a monotone ramp),
and a new salt for each release draws a new cohort.
"""

from __future__ import annotations

from hashlib import blake2b

from ml.core.errors import ConfigError
from ml.core.names import CANARY, CHAMPION

BASIS_POINTS = 10_000


def key_hash(key: str, *, salt: str) -> str:
    """Hexadecimal hash of a routing key, 16 digits; the same salt gives the same hash.

    >>> key_hash("20130701-UA-1545-EWR", salt="flight_delay/2")
    '0c5a0ce7141ea79e'
    """
    return blake2b(key.encode(), key=salt.encode()[:64], digest_size=8).hexdigest()


def assign(key: str, *, salt: str, canary_weight_bp: int) -> str:
    """Alias of the model that serves `key`: `canary` or `champion`.

    Args:
        salt: identifies the release, so that each release draws its own cohort.
        canary_weight_bp: the canary's share of keys in basis points, 0 to 10,000.

    Raises:
        ConfigError: if the weight is out of range.

    >>> [assign("any", salt="s", canary_weight_bp=weight) for weight in (0, 10_000)]
    ['champion', 'canary']
    """
    if not 0 <= canary_weight_bp <= BASIS_POINTS:
        raise ConfigError(
            f"canary weight {canary_weight_bp}", expected=f"0 to {BASIS_POINTS} basis points"
        )
    place = int(key_hash(key, salt=salt), 16) * BASIS_POINTS
    return CANARY if place < canary_weight_bp * 2**64 else CHAMPION
