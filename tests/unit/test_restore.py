"""A restore tells the events of a backup from later ones by their aggregates, so it must find each."""

from pathlib import Path

import pytest
from nameko.extensions import DependencyProvider

from deploy.operate.backup import DATA_KEY, key_check
from deploy.operate.restore import FOUND_BY, KEPT_IN
from deploy.topology import service_class
from gateway import asyncapi
from services.chassis.messages import Event


@pytest.mark.parametrize("event", asyncapi.events(), ids=lambda event: str(event.fact))
def test_the_collection_of_every_event_is_known(event: type[Event]) -> None:
    word = event.fact.partition(".")[0]
    uow: DependencyProvider = service_class(event.owner).uow  # type: ignore[attr-defined]
    (repository,) = (r for r in uow.repositories.values() if r.collection == KEPT_IN[word])
    assert repository.publishes
    assert word in FOUND_BY or event.subject in ("site", f"{word}_id", "account_id")


def test_the_data_key_is_told_apart_wherever_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDAN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SIDAN_SECRETS_DIR", raising=False)
    monkeypatch.setenv(DATA_KEY, "one")
    one = key_check()
    monkeypatch.setenv(DATA_KEY, "another")
    assert one and key_check() not in (None, one)
    monkeypatch.delenv(DATA_KEY)
    assert key_check() is None
    (tmp_path / "secrets.env").write_text(f"{DATA_KEY}=one\n")
    assert key_check() == one
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "sidan_data_key").write_text("another\n")
    monkeypatch.setenv("SIDAN_SECRETS_DIR", str(tmp_path / "mounted"))
    assert key_check() not in (None, one)
