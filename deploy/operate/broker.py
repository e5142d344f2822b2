"""What the doctor looks at in RabbitMQ: version, alarms, permissions, and whether it holds what the code declares."""

import re
from collections.abc import Iterator
from typing import Any

import amqp

from deploy.operate.copies import ARRIVING, HELD, count
from deploy.operate.finding import Finding, error, warning
from deploy.operate.management import Management
from deploy.operate.migrating import difference
from deploy.operate.system import System
from services.chassis.pauses import PAUSED
from services.chassis.topology import (
    ALL_EVENTS,
    DEAD_SUFFIX,
    RPC_EXCHANGE,
    UNROUTED,
    declared_queues,
    event_exchange,
    retry_queue,
)

OLDEST, LIMITED = (3, 10), (4, 0)
"""Dead letters at least once came with 3.10; from 4.0 on a queue gives up what was returned 20 times."""
NEEDED = ("quorum_queue", "stream_queue")
LEAST_LIMIT = 200_000_000
"""Bytes of free disk below which the broker should stop taking messages; by default 50 MB, too late for a log."""
FULL = 0.8
DECLARE = "start a service, which declares it"


def in_the_broker(system: System, connection: Any, api: Management | None) -> Iterator[Finding]:
    """Raise what py-amqp raises when it is away."""
    yield from _version(connection)
    if api is not None:
        yield from _permissions(system, api)
    yield from _queues(system, connection)
    yield from _exchanges(system, connection)
    yield from _work(system, connection)
    if api is None:
        what = "its management API does not answer: alarms, bindings, policies, permissions, orphans were not looked at"
        yield warning("broker", what, "enable rabbitmq_management and set SIDAN_MANAGEMENT_URL")
        return
    yield from _flags(api)
    yield from _nodes(api)
    yield from _bindings(system, api)
    yield from _policies(system, connection, api)
    yield from _orphans(system, api)


def _version(connection: Any) -> Iterator[Finding]:
    told = str(connection.server_properties.get("version", "0.0"))
    if _numbers(told) < OLDEST:
        yield error("broker", f"RabbitMQ {told} is too old", "upgrade it to 3.10 or later")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _queues(system: System, connection: Any) -> Iterator[Finding]:
    handlers = {subscription.queue for subscription in system.subscriptions}
    for name, arguments in declared_queues(system.services, system.subscriptions, system.delays).items():
        if count(connection, name) is None:
            replay = f"; then `sidan queues replay --queue {name}`" if name in handlers else ""
            yield error("topology", f"there is no queue {name}", DECLARE + replay)
        elif told := difference(connection, name, arguments):
            cure = (
                f"`sidan queues migrate {name}`" if name in handlers else "delete it when it is empty, and " + DECLARE
            )
            yield error("topology", f"queue {name} has other arguments than the code declares: {told}", cure)


def _exchanges(system: System, connection: Any) -> Iterator[Finding]:
    fanouts = [UNROUTED, *map(retry_queue, system.delays)]
    topics = [ALL_EVENTS, RPC_EXCHANGE, *(event_exchange(name).name for name in system.publishers)]
    for name, kind in [*((name, "topic") for name in topics), *((name, "fanout") for name in fanouts)]:
        channel = connection.channel()
        try:
            channel.exchange_declare(name, kind, passive=True)
            channel.exchange_declare(name, kind, durable=True, auto_delete=False)
            channel.close()
        except amqp.exceptions.NotFound:
            yield error("topology", f"there is no exchange {name}", DECLARE)
        except amqp.exceptions.PreconditionFailed as failed:
            what = f"exchange {name} is not as the code declares it: {failed.reply_text}"
            yield error("topology", what, "stop the services, delete it, start them")


def _work(system: System, connection: Any) -> Iterator[Finding]:
    for subscription in system.subscriptions:
        queue = subscription.queue
        dead, found = count(connection, queue + DEAD_SUFFIX), count(connection, queue)
        if dead and dead[0]:
            yield warning("dead letters", f"{dead[0]} of {queue}", f"`sidan dead list --queue {queue}`")
        if found and not found[1] and not _is_paused(system, subscription.service, queue):
            yield error("consumers", f"no process takes messages of {queue}", f"start service {subscription.service}")
        for suffix in (HELD, ARRIVING):
            if count(connection, queue + suffix):
                cure = f"run `sidan queues migrate {queue}` again"
                yield error("topology", f"{queue + suffix} is left of a migration that did not end", cure)
    lost = count(connection, UNROUTED)
    if lost and lost[0]:
        what = f"{lost[0]} messages in {UNROUTED}, which nobody was bound to"
        yield warning("topology", what, "look at them in the management page; purge the queue when they are known")


def _is_paused(system: System, service: str, queue: str) -> bool:
    """Asked only where nobody consumes. Raise ``PyMongoError``."""
    return system.database(service)[PAUSED].find_one({"_id": queue}) is not None


def _flags(api: Management) -> Iterator[Finding]:
    for flag in api.get("feature-flags"):
        if flag["state"] != "enabled" and flag.get("stability") in ("stable", "required"):
            tell = error if flag["name"] in NEEDED else warning
            cure = f"`rabbitmqctl enable_feature_flag {flag['name']}`, before the next upgrade at the latest"
            yield tell("broker", f"feature flag {flag['name']} is {flag['state']}", cure)


def _nodes(api: Management) -> Iterator[Finding]:
    for node in api.get("nodes"):
        name = node["name"]
        if not node.get("running"):
            yield error("broker", f"node {name} is down", "start it; a majority must be up")
            continue
        if node.get("partitions"):
            yield error(
                "broker", f"node {name} is cut off from {node['partitions']}", "mend the network, then restart it"
            )
        if node.get("mem_alarm"):
            cure = "let consumers catch up, or give it more memory: it takes no messages now"
            yield error("broker", f"node {name} has its memory alarm", cure)
        yield from _space(name, node)
        if node.get("fd_used", 0) > FULL * node.get("fd_total", float("inf")):
            what = f"node {name} uses {node['fd_used']} of {node['fd_total']} files"
            yield error("files", what, "raise the limit of open files (65536) and restart the node")


def _space(name: str, node: dict[str, Any]) -> Iterator[Finding]:
    free, limit = node.get("disk_free"), node.get("disk_free_limit")
    if node.get("disk_free_alarm"):
        yield error("broker", f"node {name} has its disk alarm", "free disk: it takes no messages now")
    elif isinstance(free, int) and isinstance(limit, int) and free < 2 * limit:
        what = f"node {name} has {free / 1e9:.1f} GB left, and stops taking messages at {limit / 1e9:.1f} GB"
        yield warning("disk", what, "free some")
    if isinstance(limit, int) and limit < LEAST_LIMIT:
        what = f"node {name} goes on until only {limit / 1e6:.0f} MB are free"
        yield warning("disk", what, "set disk_free_limit.absolute = 2GB (256MB on a developer's machine)")


def _permissions(system: System, api: Management) -> Iterator[Finding]:
    granted: dict[str, str] = next(
        (p for p in api.get("users", api.user, "permissions") if p["vhost"] == api.vhost), {}
    )
    names = [*declared_queues(system.services, system.subscriptions, system.delays), ALL_EVENTS, RPC_EXCHANGE]
    names += [event_exchange(name).name for name in system.publishers]
    for kind in ("configure", "write", "read"):
        pattern = granted.get(kind, "")
        refused = [name for name in names if not (pattern and re.search(pattern, name))]
        if refused:
            what = f"user {api.user} may not {kind} {len(refused)} of {len(names)}, for example {refused[0]}"
            cure = (
                f"`rabbitmqctl set_permissions -p {api.vhost} {api.user} …`: services declare, publish and consume all"
            )
            yield error("permissions", what, cure)


def _bindings(system: System, api: Management) -> Iterator[Finding]:
    found = {(b["source"], b["destination"], b["routing_key"]) for b in api.of_vhost("bindings") if b["source"]}
    wanted = {(event_exchange(s.event.owner).name, s.queue, f"{s.event.fact}.#") for s in system.subscriptions}
    everything = {(event_exchange(name).name, ALL_EVENTS, "#") for name in system.publishers}
    queues = {subscription.queue for subscription in system.subscriptions}
    for source, destination, key in sorted((wanted | everything) - found):
        yield error("topology", f"{destination} is not bound to {source} by {key}", DECLARE)
    for source, destination, key in sorted(b for b in found - wanted if b[1] in queues):
        yield warning("topology", f"{destination} is bound to {source} by {key}, which no code declares", "unbind it")


def _policies(system: System, connection: Any, api: Management) -> Iterator[Finding]:
    alternates = {p["name"] for p in api.of_vhost("policies") if p["definition"].get("alternate-exchange") == UNROUTED}
    exchanges = {exchange["name"]: exchange for exchange in api.of_vhost("exchanges")}
    for name in (event_exchange(publisher).name for publisher in system.publishers):
        if name in exchanges and exchanges[name].get("policy") not in alternates:
            cure = "set the policy of deploy/rabbitmq/definitions.json.in"
            yield error("policy", f"what nobody is bound to at {name} does not go to {UNROUTED}", cure)
    if _numbers(str(connection.server_properties.get("version", "0.0"))) >= LIMITED:
        yield from _limits(api)


def _limits(api: Management) -> Iterator[Finding]:
    """A look at dead letters returns them."""
    for queue in api.of_vhost("queues"):
        limit = (queue.get("effective_policy_definition") or {}).get("delivery-limit")
        if queue["name"].endswith(DEAD_SUFFIX) and limit != -1:
            cure = rf'`rabbitmqctl set_policy keep-dead "\{DEAD_SUFFIX}$" {{"delivery-limit":-1}} --apply-to queues`'
            yield error("policy", f"{queue['name']} gives up what was looked at 20 times", cure)


def _orphans(system: System, api: Management) -> Iterator[Finding]:
    declared = declared_queues(system.services, system.subscriptions, system.delays)
    for queue in api.of_vhost("queues"):
        name, messages = queue["name"], queue.get("messages", 0)
        ours = (
            name.startswith(("evt-", "retry.", "rpc-")) and "--" in name + "--" and not name.endswith((HELD, ARRIVING))
        )
        if ours and name not in declared and not queue.get("exclusive") and not name.startswith("rpc.reply"):
            what = (
                f"queue {name} with {messages} messages is declared by no code (a handler that was renamed or removed?)"
            )
            yield warning("topology", what, "delete it when its messages are not needed: it is filled for ever")
