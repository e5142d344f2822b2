"""Photos of orders: who adds and who sees them, what is kept of them, and what is none."""

import io
from typing import Any

import pytest
from PIL import Image
from pymongo import MongoClient

from services.chassis.personal import MARK
from services.dispatch.domain import MOST_PHOTOS
from tests.e2e.steps import TEAMS, Steps, send_photo
from tests.support.pictures import CANARY, a_photo, noise, opened
from tests.support.processes import eventually
from tests.support.snapshots import unchanged
from tests.support.system import Events, System

MEGABYTE = 1_000_000
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def slug(response: Any) -> str:
    found: str = response.json()["type"].rpartition("/")[2]
    return found


def stored(system: System, photo: str) -> dict[str, Any]:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        found = client[f"{system.prefix}dispatch"]["photos"].find_one({"_id": photo})
    assert found is not None
    return found


def test_a_photo_of_what_is_to_be_done_is_seen_by_who_accepts_it(steps: Steps, system: System) -> None:
    order = steps.place()
    sent = send_photo(system.person("resident"), order, a_photo(2000, 1000))
    photo = sent.json()
    path = f"/v1/orders/{order['id']}/photos/{photo['id']}"
    assert (sent.status_code, sent.headers["location"], photo["url"]) == (201, path, path)
    assert (photo["width"], photo["height"], photo["by"]) == (1600, 800, "resident")
    assert system.person("leader1").get(path).status_code == 403
    assert steps.order(order, "leader1")["photos"] == []
    steps.accept(order)
    answer = system.person("volunteer1").get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert "private" in answer.headers["cache-control"] and answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.content) == photo["bytes"] and opened(answer.content).size == (1600, 800)
    assert system.person("leader2").get(path).status_code == 403
    assert system.person("resident2").get(path).status_code == 404
    steps.withdraw(order)
    assert system.person("leader1").get(path).status_code == 403, "not any more"


def test_who_goes_there_photographs_too_and_the_list_is_by_time(steps: Steps, system: System) -> None:
    order = steps.place()
    path = f"/v1/orders/{order['id']}"
    steps.take("leader1", order, "accept", team=TEAMS["leader1"], volunteers=["vol-volunteer1"])
    steps.take("leader1", order, "start")
    with Events(system.amqp_uri) as events:
        photos = [steps.photograph(order, who) for who in ("volunteer1", "leader1", "station", "resident")]
        eventually(lambda: events.of(order["id"]).count("order.photographed") == 4, what="a fact for each")
        assert CANARY not in events.text()
    assert [photo["by"] for photo in photos] == ["team", "team", "site", "resident"]
    assert system.person("center").read(f"{path}/photos")["items"] == photos
    assert steps.order(order)["photos"] == [photo["id"] for photo in photos]
    assert steps.facts(order)[-4:] == ["photographed"] * 4
    assert steps.timeline(order)[-4]["actor"] == "volunteer1"


def test_what_is_noted_beside_the_picture_is_nowhere(steps: Steps, system: System) -> None:
    order = steps.reach("accepted")
    for kind in ("JPEG", "PNG", "WEBP"):
        photo = steps.photograph(order, "resident", a_photo(kind=kind))
        picture = system.person("leader1").get(photo["url"]).content
        assert CANARY.encode() not in picture and b"Exif" not in picture and not opened(picture).getexif()
        kept = stored(system, photo["id"])
        assert kept["data"].startswith(MARK) and "/9j/" not in kept["data"][:8]
        assert CANARY not in str(kept)


def test_a_request_that_is_sent_again_adds_one_photo(steps: Steps, system: System) -> None:
    order, resident = steps.place(), system.person("resident")
    first, again = (send_photo(resident, order, a_photo(), key="photo-once") for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = send_photo(resident, order, a_photo(80, 60), key="photo-once")
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
    assert steps.order(order)["photos"] == [first.json()["id"]]


def test_what_is_no_photo_or_too_much_of_one_changes_nothing(steps: Steps, system: System) -> None:
    order, resident = steps.place(), system.person("resident")
    jpeg, gif = a_photo(), io.BytesIO()
    Image.new("RGB", (9, 9)).save(gif, "GIF")
    bomb = io.BytesIO()
    Image.new("L", (3001, 3000)).save(bomb, "PNG")
    wrong: list[tuple[bytes, str, int, str]] = [
        (SVG, "image/svg+xml", 415, "unsupported-type"),
        (jpeg, "application/json", 415, "unsupported-type"),
        (jpeg, "text/html", 415, "unsupported-type"),
        (SVG, "image/png", 422, "invalid"),
        (b"\xff\xd8\xff\xe0<html><script>alert(1)</script>", "image/jpeg", 422, "invalid"),
        (gif.getvalue(), "image/png", 422, "invalid"),
        (b"", "image/jpeg", 422, "invalid"),
        (jpeg[:300], "image/jpeg", 422, "invalid"),
        (bomb.getvalue(), "image/png", 413, "too-large"),
        (jpeg.ljust(10 * MEGABYTE + 1), "image/jpeg", 413, "too-large"),
    ]
    with unchanged(system):
        answers = [send_photo(resident, order, content, kind) for content, kind, _, _ in wrong]
    assert [(a.status_code, slug(a)) for a in answers] == [(status, what) for _, _, status, what in wrong]
    assert answers[3].json()["fields"][0]["path"] == "photo"


def test_ten_megabytes_are_taken_here_and_nowhere_else(steps: Steps, system: System) -> None:
    order = steps.place()
    behind = a_photo() + b"<script>alert(1)</script>"
    photo = steps.photograph(order, "resident", behind.ljust(10 * MEGABYTE))
    assert b"script" not in system.person("resident").get(photo["url"]).content
    elsewhere = f"/v1/orders/{order['id']}/message"
    assert system.person("resident").request("POST", elsewhere, content=b" " * (MEGABYTE + 1)).status_code == 413


def test_the_largest_that_is_kept_comes_through(steps: Steps, system: System) -> None:
    photo = steps.photograph(steps.place(), "resident", noise(1600))
    assert len(system.person("resident").get(photo["url"]).content) == photo["bytes"] < 700_000


def test_there_are_twelve_at_most(steps: Steps, system: System) -> None:
    order = steps.place()
    for _ in range(MOST_PHOTOS):
        steps.photograph(order, "resident")
    refused = send_photo(system.person("resident"), order, a_photo())
    assert refused.status_code == 409 and "12" in refused.json()["detail"]
    assert len(system.person("resident").read(f"/v1/orders/{order['id']}/photos")["items"]) == MOST_PHOTOS


@pytest.mark.parametrize("state", ["rated", "closed"])
def test_what_is_rated_is_photographed_no_more_and_its_photos_stay(steps: Steps, system: System, state: str) -> None:
    order = steps.reach("completed")
    photo = steps.photograph(order, "leader1")
    steps.rate(order)
    if state == "closed":
        steps.close(order)
    refused = send_photo(system.person("leader1"), order, a_photo())
    assert (refused.status_code, slug(refused)) == (409, "illegal-transition")
    assert system.person("resident").get(photo["url"]).status_code == 200


def test_a_photo_is_found_under_its_own_order_only(steps: Steps, system: System) -> None:
    one, other = steps.place(), steps.place()
    photo = steps.photograph(one, "resident")
    for order, id in ((other, photo["id"]), (one, "01NOTHING"), (one, other["id"])):
        assert system.person("resident").get(f"/v1/orders/{order['id']}/photos/{id}").status_code == 404
