"""A restore tells the events of a backup from later ones by their aggregates, so it must find each."""

import base64
import os
from pathlib import Path

import pytest
from nameko.extensions import DependencyProvider

from deploy.operate.commands import Misused
from deploy.operate.envelope import DATA_KEY, envelope_key, required_key
from deploy.operate.restore import FOUND_BY, KEPT_IN
from deploy.topology import service_class
from gateway import asyncapi
from services.chassis.keys import Envelope
from services.chassis.messages import Event


@pytest.mark.parametrize("event", asyncapi.events(), ids=lambda event: str(event.fact))
def test_the_collection_of_every_event_is_known(event: type[Event]) -> None:
    word = event.fact.partition(".")[0]
    uow: DependencyProvider = service_class(event.owner).uow  # type: ignore[attr-defined]
    publishes = [r.publishes for r in uow.repositories.values() if r.collection == KEPT_IN[word]]
    assert publishes.count(True) == 1
    assert word in FOUND_BY or event.subject in ("site", f"{word}_id", "account_id")


def test_the_envelope_key_is_found_wherever_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, another = (base64.urlsafe_b64encode(os.urandom(32)).decode() for _ in range(2))
    name = {text: Envelope(text).name for text in (one, another)}
    monkeypatch.setenv("SIDAN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SIDAN_SECRETS_DIR", raising=False)
    monkeypatch.setenv(DATA_KEY, one)
    assert required_key().name == name[one] != name[another]
    monkeypatch.setenv(DATA_KEY, "one")
    with pytest.raises(Misused, match=DATA_KEY):
        envelope_key()
    monkeypatch.delenv(DATA_KEY)
    assert envelope_key() is None
    with pytest.raises(Misused, match=DATA_KEY):
        required_key()
    (tmp_path / "secrets.env").write_text(f"{DATA_KEY}={one}\n")
    assert required_key().name == name[one]
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "sidan_data_key").write_text(f"{another}\n")
    monkeypatch.setenv("SIDAN_SECRETS_DIR", str(tmp_path / "mounted"))
    assert required_key().name == name[another]
