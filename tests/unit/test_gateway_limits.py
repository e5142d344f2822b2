"""What the gateway counts, and whom it refuses first; nothing is running."""

import base64
import time

import pytest
from pydantic import ValidationError

from gateway import rates
from gateway.load import SHARE, Rank, rank_of
from gateway.rates import Meter, address_of
from gateway.settings import RATES, Settings

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_and_then_one_at_a_time() -> None:
    clock = Clock()
    meter = Meter(2, 4, clock)
    assert [meter.take("a") for _ in range(4)] == [0.0] * 4
    assert meter.take("a") == meter.take("a") == 0.5, "a refused one does not count"
    clock.now += 0.5
    assert (meter.take("a"), meter.take("a")) == (0.0, 0.5)
    assert meter.take("b") == 0.0
    clock.now += 1000
    assert [meter.take("a") for _ in range(5)] == [0.0] * 4 + [0.5], "nothing is saved up beyond the burst"


def test_over_time_the_rate_is_kept_to() -> None:
    clock = Clock()
    meter = Meter.per_minute(10)
    meter._clock = clock
    let_through = 0
    for _ in range(6000):
        let_through += meter.take("a") == 0.0
        clock.now += 0.1
    assert let_through == 10 + 100 - 1


def test_what_is_given_back_was_never_taken() -> None:
    meter = Meter(1, 2, Clock())
    for _ in range(100):
        assert meter.take("a") == 0.0
        meter.give_back("a")
    meter.give_back("unknown")
    assert [meter.take("a") for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_rate_of_zero_is_no_limit() -> None:
    meter = Meter.per_second(0)
    assert [meter.take("a") for _ in range(1000)] == [0.0] * 1000
    assert len(meter) == 0


def test_a_meter_forgets_those_that_were_quiet_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "REMEMBERED", 100)
    clock = Clock()
    meter = Meter(1, 1, clock)
    for number in range(1000):
        assert meter.take(str(number)) == 0.0
        assert len(meter) <= 100
    assert meter.take("999") > 0
    assert meter.take("0") == 0.0


def test_counting_costs_next_to_nothing() -> None:
    """A request of a known account takes three looks: at its address, its account and its route."""
    meter = Meter.per_second(100)
    for number in range(50_000):
        meter.take(str(number))
    best = min(_seconds(meter) for _ in range(5))
    assert best < 20e-6, f"{best * 1e6:.1f} µs each"


def _seconds(meter: Meter) -> float:
    began = time.perf_counter()
    for number in range(1000):
        meter.take(str(number))
    return (time.perf_counter() - began) / 1000


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8::1", 5), "2001:db8::/64"),
        (("2001:db8::ffff:2", 5), "2001:db8::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("no:address", 0), "no:address"),
        (None, ""),
    ],
)
def test_of_ipv6_the_network_is_counted(client: object, address: str) -> None:
    assert address_of({"client": client}) == address


@pytest.mark.parametrize(
    ("method", "path", "body", "rank"),
    [
        ("GET", "/v1/notifications", b"", Rank.NOTIFICATIONS),
        ("POST", "/v1/notifications/read", b"", Rank.NOTIFICATIONS),
        ("GET", "/v1/boards/points", b"", Rank.BOARDS),
        ("GET", "/v1/orders", b"", Rank.READS),
        ("GET", "/v1/orders/x", b'{"urgent": true}', Rank.READS),
        ("POST", "/oauth/token", b"grant_type=password", Rank.COMMANDS),
        ("POST", "/v1/orders", b'{"urgent": false}', Rank.COMMANDS),
        ("POST", "/v1/orders", b'{"urgent": "true"}', Rank.COMMANDS),
        ("POST", "/v1/orders", b'["urgent"]', Rank.COMMANDS),
        ("POST", "/v1/orders", b"{", Rank.COMMANDS),
        ("POST", "/v1/orders", b'{"urgent": true}', Rank.URGENT),
        ("POST", "/v1/orders/x/rate", b'{"urgent": true}', Rank.COMMANDS),
    ],
)
def test_the_less_urgent_goes_first(method: str, path: str, body: bytes, rank: Rank) -> None:
    assert rank_of(method, path, body) is rank


def test_each_rank_is_refused_before_the_next() -> None:
    shares = [SHARE[rank] for rank in sorted(Rank)]
    assert shares == sorted(set(shares)) and shares[-1] == 1.0


# -- settings -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URI", "amqp://sidan:secret@localhost")
    monkeypatch.setenv("SIDAN_TOKEN_SECRET", KEY)


def test_the_local_profile_is_generous_and_production_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name: getattr(Settings(), name) for name in RATES} == {name: strict for name, (strict, _) in RATES.items()}
    monkeypatch.setenv("SIDAN_PROFILE", "local")
    assert Settings().rate_account >= 50, "what the contract promises to the accounts of the demo"
    monkeypatch.setenv("SIDAN_RATE_ACCOUNT", "7")
    assert Settings().rate_account == 7


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIDAN_TRUSTED_PROXIES", "everybody"),
        ("SIDAN_TRUSTED_PROXIES", "*"),
        ("SIDAN_MAX_IN_FLIGHT", "0"),
        ("SIDAN_RATE_ACCOUNT", "-1"),
        ("SIDAN_BODY_SECONDS", "0"),
    ],
)
def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=variable.removeprefix("SIDAN_").lower()):
        Settings()
