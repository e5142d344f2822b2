"""Keys of personal data on a real database: made once, rotated under load, wrapped anew; nothing becomes unreadable."""

import base64
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from services.chassis import personal
from services.chassis.keys import INDEX, Envelope, WrongKey, load, make, open_keys, stored
from services.chassis.repository import Repository
from services.chassis.settings import settings
from services.chassis.unit_of_work import Idempotency, Work
from services.contracts.errors import Unavailable
from services.contracts.privacy import Secret
from tests.support.failpoints import failing
from tests.support.operate import Command
from tests.support.processes import KEY, World, eventually

NEW_KEY = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
REASON = ("--reason", "a test")
NOTES, WRITERS = 2_500, 4
WAIT = "2"
"""Seconds of grace here, where processes of the test ask for the current key more often."""


@dataclass
class Note:
    id: str
    text: Secret
    count: int = 0
    said: list[str] = field(default_factory=list)
    version: int = 0


class Notes(Repository[Note]):
    collection = "notes"
    aggregate = Note


def work(world: World) -> Any:
    return Work(world.database("alpha"), {"notes": Notes})


def ring(world: World, service: str = "alpha") -> dict[str, Any]:
    found = stored(world.database(service))
    assert found is not None
    return found


def ids(world: World) -> set[str]:
    return set(ring(world)["keys"]) - {INDEX}


@pytest.fixture
def own_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process encrypts as alpha does."""
    for name, value in (("SIDAN_DATA_KEY", KEY), ("AMQP_URI", world.amqp_uri), ("MONGO_URI", world.mongo_uri)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(personal, "FRESH", 0.2)
    monkeypatch.setattr(personal, "_keys", None, raising=False)
    settings.cache_clear()
    open_keys(world.database("alpha"), [Notes])
    yield
    settings.cache_clear()


@pytest.fixture
def notes(own_keys: None, world: World) -> dict[str, str]:
    """The text of each, in one bulk; some with an encrypted text deeper inside."""
    texts = {f"{number:05d}": f"第{number}条" for number in range(NOTES)}
    world.database("alpha")["notes"].insert_many(
        {"_id": id, "text": personal.encrypt(text), "count": 0, "said": [personal.encrypt(id)] * (int(id) % 3),
         "deep": {"a.b": [{"$c": personal.encrypt(text)}]}, "version": 1}
        for id, text in texts.items()
    )  # fmt: skip
    return texts


def texts_now(world: World) -> dict[str, str]:
    """Read by somebody who has just come; texts deeper inside are as right as the others."""
    fresh, found = load(world.database("alpha"), Envelope(KEY)), {}
    for document in world.database("alpha")["notes"].find():
        found[document["_id"]] = fresh.decrypt(document["text"])
        assert {fresh.decrypt(text) for text in document["said"]} <= {document["_id"]}
        assert fresh.decrypt(document["deep"]["a.b"][0]["$c"]) == f"第{int(document['_id'])}条"
    return found


def listed(sidan: Command) -> dict[str, int]:
    """How many documents need each key of alpha."""
    return {row["key"]: row["documents"] for row in sidan.json("keys", "list") if row["service"] == "alpha"}


# -- the ring -------------------------------------------------------------------------------------------


def test_of_many_who_make_the_ring_at_once_all_get_the_same(world: World) -> None:
    together, found = threading.Barrier(8), []

    def begin() -> None:
        together.wait()
        make(world.database("alpha"), Envelope(KEY))
        found.append(load(world.database("alpha"), Envelope(KEY)))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(one.current, one.index) for one in found}) == 1 and len(found) == 8


def test_two_processes_that_start_at_once_read_what_the_other_has_written(world: World) -> None:
    for process in [world.start("alpha"), world.start("alpha")]:
        process.wait_started()
    assert len(ids(world)) == 1
    for _ in range(2):
        for number in range(8):
            answer_of(world, f"thing-{number}")
    assert world.database("alpha")["things"].count_documents({}) == 8


def answer_of(world: World, id: str) -> None:
    """The first, or the one that was kept."""
    asked = {"command": {"id": id}, "idempotency": {"key": id, "fingerprint": id}}
    assert world.call("alpha.add", **asked) == {"id": id}


def test_a_process_with_another_key_does_not_start_and_says_why(world: World) -> None:
    make(world.database("alpha"), Envelope(NEW_KEY))
    process = world.start("alpha")
    assert process.wait_exit() == 2
    assert "cannot start alpha: SIDAN_DATA_KEY" in process.log.read_text()


@pytest.mark.parametrize("text", ["enc1:AAAA", "enc2:0a:AAAA"])
def test_data_without_keys_stops_the_start(world: World, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An earlier version has encrypted it right by SIDAN_DATA_KEY, or somebody has lost the ring."""
    monkeypatch.setenv("SIDAN_DATA_KEY", KEY)
    monkeypatch.setenv("AMQP_URI", world.amqp_uri)
    monkeypatch.setenv("MONGO_URI", world.mongo_uri)
    settings.cache_clear()
    world.database("alpha")["notes"].insert_one({"_id": "old", "text": text, "version": 1})
    with pytest.raises(WrongKey, match="earlier version"):
        open_keys(world.database("alpha"), [Notes])
    settings.cache_clear()
    assert stored(world.database("alpha")) is None


# -- rotation -------------------------------------------------------------------------------------------


@contextmanager
def writing(world: World, texts: dict[str, str]) -> Iterator[list[str]]:
    """Writers who change the text of a note, or something else of it, with an answer that is kept; keys of answers."""
    stop, answered = threading.Event(), list[str]()

    def write(writer: int) -> None:
        unit = work(world)
        for turn in count():
            if stop.is_set():
                return
            id, key = f"{turn * 7 % 100 * WRITERS + writer:05d}", f"{writer}-{turn}"

            def change(id: str = id, key: str = key, turn: int = turn) -> str:
                note = unit.notes.get(id)
                note.count += 1
                if turn % 2:
                    note.text = key
                unit.notes.save(note)
                return key

            try:
                unit.run(change, 5, Idempotency(key, key))
            except Unavailable:
                continue
            answered.append(key)
            if turn % 2:
                texts[id] = key

    # Each writes notes of its own, so that the last text of a note is the one that was written last.
    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_rotation_under_load_loses_nothing_and_leaves_no_old_key(
    world: World, sidan: Command, notes: dict[str, str]
) -> None:
    (old,) = ids(world)
    assert listed(sidan) == {old: NOTES}
    with writing(world, notes) as answered:
        eventually(lambda: len(answered) > 20)
        done = sidan("keys", "rotate", "--grace", WAIT, *REASON, "--by", "tester")
        rotated = len(answered)
        eventually(lambda: len(answered) > rotated + 20)
    assert done.returncode == 0, done.stderr
    (new,) = ids(world)
    assert new == ring(world)["current"] != old
    assert texts_now(world) == notes
    assert sum(note["count"] for note in world.database("alpha")["notes"].find()) == len(answered)
    assert listed(sidan) == {new: NOTES + len(answered)}
    for row in world.database("alpha")["idempotency"].find():
        assert personal.decrypt(row["answer"]) == f'"{row["_id"]}"'
    (row,) = sidan.json("dead", "audit")
    assert (row["action"], row["by"], row["reason"], row["ended"] is None) == ("rotated", "tester", "a test", False)
    assert row["count"] >= NOTES


def test_running_services_go_on_while_keys_are_rotated(world: World, sidan: Command) -> None:
    alpha = world.start("alpha").wait_started()
    (old,) = ids(world)
    with sidan.start("keys", "rotate", "--grace", "7", *REASON) as rotating:
        for number in count():
            answer_of(world, f"thing-{number}")
            if rotating.poll() is not None:
                break
            time.sleep(0.05)
    assert rotating.returncode == 0
    assert old not in ids(world) and list(listed(sidan)) == list(ids(world))
    for repeated in range(number + 1):
        answer_of(world, f"thing-{repeated}")
    assert world.database("alpha")["things"].count_documents({}) == number + 1
    assert not alpha.logged("handler failed")


def test_a_rotation_that_was_cut_off_is_gone_on_with(world: World, sidan: Command, notes: dict[str, str]) -> None:
    (old,) = ids(world)
    with failing(world.mongo, ["update"], {"skip": 2}, errorCode=1, appName="sidan-operate"):
        assert sidan("keys", "rotate", "--grace", "0", *REASON).returncode != 0
    new = ring(world)["current"]
    assert ids(world) == {old, new}
    assert listed(sidan) == {old: NOTES - 1000, new: 1000}
    assert any("rotation" in finding["what"] for finding in sidan.json("doctor"))
    with sidan.start("keys", "rotate", "--grace", "600", *REASON) as rotating:
        eventually(lambda: listed(sidan) == {old: 0, new: NOTES}, what="all is encrypted anew")
        rotating.kill()
    assert ids(world) == {old, new}
    assert sidan("keys", "rotate", "--grace", WAIT, *REASON).returncode == 0
    assert ids(world) == {new}
    assert texts_now(world) == notes


def test_a_text_that_cannot_be_read_keeps_its_key_and_is_named(
    world: World, sidan: Command, notes: dict[str, str]
) -> None:
    (old,) = ids(world)
    damaged = {"_id": "damaged", "text": f"enc2:{old}:AAAA", "said": f"of enc2:{old}:", "version": 1}
    world.database("alpha")["other"].insert_one(damaged)
    done = sidan("keys", "rotate", "--grace", "0", *REASON)
    assert done.returncode == 1 and "other damaged" in done.stdout
    assert old in ids(world)
    world.database("alpha")["other"].update_one({"_id": "damaged"}, {"$unset": {"text": ""}})
    assert sidan("keys", "rotate", "--grace", "0", *REASON).returncode == 0
    assert old not in ids(world)
    assert texts_now(world) == notes


# -- the envelope key -----------------------------------------------------------------------------------


def test_the_envelope_key_is_changed_while_services_run(world: World, sidan: Command) -> None:
    for name in ("alpha", "beta"):
        world.start(name).wait_started()
    answer_of(world, "before")
    own, rewrap = Envelope(KEY), ("keys", "rewrap", *REASON)
    assert "SIDAN_NEW_DATA_KEY" in sidan(*rewrap).stderr
    with failing(world.mongo, ["update"], {"skip": 2}, errorCode=1, appName="sidan-operate"):
        assert sidan(*rewrap, SIDAN_NEW_DATA_KEY=NEW_KEY).returncode != 0
    assert len({len(key["wraps"]) for name in ("alpha", "beta") for key in ring(world, name)["keys"].values()}) == 2
    done = sidan(*rewrap, SIDAN_NEW_DATA_KEY=NEW_KEY)
    assert done.returncode == 0, done.stderr
    assert "rewrap --finish" in sidan("keys", "rotate", *REASON).stderr
    assert any("two envelope keys" in finding["what"] for finding in sidan.json("doctor"))
    answer_of(world, "between")
    assert "former" in sidan(*rewrap, "--finish").stderr
    for sample in world.samples:
        sample.stop()
    for name in ("alpha", "beta"):
        world.start(name, SIDAN_DATA_KEY=NEW_KEY).wait_started()
    assert sidan(*rewrap, "--finish", SIDAN_DATA_KEY=NEW_KEY).returncode == 0
    answer_of(world, "after")
    for id in ("before", "between", "after"):
        answer_of(world, id)
    assert world.database("alpha")["things"].count_documents({}) == 3
    assert all(own.name not in key["wraps"] for name in ("alpha", "beta") for key in ring(world, name)["keys"].values())
    assert "SIDAN_DATA_KEY" in sidan("keys", "rotate", *REASON).stderr
    assert any(finding["about"] == "keys" for finding in sidan.json("doctor"))
    assert sidan("keys", "rotate", "--grace", "7", *REASON, SIDAN_DATA_KEY=NEW_KEY).returncode == 0
    answer_of(world, "before")
