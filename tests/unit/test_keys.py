"""Keys that are wrapped by another, and a ring that is read again when a replica has turned it."""

import base64
import os
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis import personal
from services.chassis.keys import INDEX, Envelope, WrongKey, data_keys, opened
from services.chassis.personal import Keys, Ring, UnknownKey
from tests.support.rings import RING


def envelope() -> Envelope:
    return Envelope(base64.urlsafe_b64encode(os.urandom(32)).decode())


def document(by: Envelope) -> dict[str, Any]:
    return {"current": "b", "keys": {id: by.new_key(id) for id in ("a", "b", INDEX)}}


def ring(*ids: str) -> Ring:
    """Keys of the same id are the same."""
    return Ring(ids[-1], {id: AESGCM(id.encode() * 16) for id in ids}, b"index")


def test_what_is_wrapped_is_unwrapped_by_the_same_key_only() -> None:
    own, key = envelope(), os.urandom(32)
    assert own.unwrap("a", own.wrap("a", key)) == key
    assert own.wrap("a", key) != own.wrap("a", key)
    with pytest.raises(InvalidTag):
        envelope().unwrap("a", own.wrap("a", key))


def test_a_wrap_that_was_changed_or_put_under_another_id_shows() -> None:
    own = envelope()
    wrapped = own.wrap("a", os.urandom(32))
    with pytest.raises(InvalidTag):
        own.unwrap("b", wrapped)
    with pytest.raises(InvalidTag):
        own.unwrap("a", wrapped[:-1] + bytes([wrapped[-1] ^ 1]))


def test_a_ring_is_opened_with_all_its_data_keys() -> None:
    own = envelope()
    stored = document(own)
    found = opened(stored, own)
    assert data_keys(stored) == list(found.ciphers) == ["a", "b"]
    assert found.encrypt("王秀英").startswith("enc2:b:")
    assert opened(stored, own).index == found.index


@pytest.mark.parametrize("harm", [lambda ring: None, lambda ring: ring["keys"]["a"].update(wraps={})])
def test_a_ring_that_cannot_be_opened_tells_which_setting_is_wrong(harm: Any) -> None:
    own = envelope()
    stored = document(own)
    harm(stored)
    with pytest.raises(WrongKey, match="SIDAN_DATA_KEY"):
        opened(stored, envelope())


@pytest.mark.parametrize("text", ["short", base64.urlsafe_b64encode(bytes(32)).decode(), "中"])
def test_what_is_no_random_key_wraps_nothing(text: str) -> None:
    with pytest.raises(ValueError):
        Envelope(text)


def test_a_text_of_an_unknown_key_reads_the_ring_again_once() -> None:
    rings = [ring("a"), ring("a", "b"), ring("a", "b")]
    keys = Keys(lambda: rings.pop(0))
    old, new = ring("a").encrypt("old"), ring("a", "b").encrypt("new")
    assert keys.decrypt(old) == "old" and len(rings) == 2
    assert keys.decrypt(new) == "new" and len(rings) == 1
    assert keys.decrypt(old) == "old" and len(rings) == 1
    with pytest.raises(UnknownKey):
        keys.decrypt(ring("c").encrypt("strange"))
    assert not rings


@pytest.mark.parametrize("text", ["", "enc1:AAAA", "enc2:", "enc2:two:AAAA", "王秀英"])
def test_what_no_key_has_made_is_refused_without_its_words(text: str) -> None:
    with pytest.raises(UnknownKey) as refused:
        RING.decrypt(text)
    assert str(refused.value) == ""


def test_who_encrypts_takes_the_new_key_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    rings, at = [ring("a"), ring("a", "b")], 100.0
    monkeypatch.setattr(personal.time, "monotonic", lambda: at)
    keys = Keys(lambda: rings.pop(0))
    at += personal.FRESH - 0.1
    assert keys.encrypt("x").startswith("enc2:a:")
    at += 0.1
    assert keys.encrypt("x").startswith("enc2:b:")
    assert keys.encrypt("x").startswith("enc2:b:")
