"""What may be used where; read from the source, so that a rule is broken before it runs."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/service.py"))
PACKAGES = ("services", "gateway", "deploy")
BANNED_WORDS = re.compile(r"Manager|Helper|Util|^Base|^Abstract|^I[A-Z][a-z]|Processor|Impl$|(Data|Info)$")
STOCK = {"event_handler", "rpc", "EventDispatcher", "EventHandler", "ServiceRpc", "RpcProxy", "http", "timer"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(paths: list[Path]) -> dict[str, Path]:
    return {str(path.relative_to(ROOT)): path for path in paths}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Full names of all that is imported, also inside functions and for type checking."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def starts_with(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


ALL = named(sources(*PACKAGES))
OF_SERVICES = named(sources("services"))
DOMAINS = named([ROOT / "services" / service / "domain.py" for service in SERVICES])
SERVICE_MODULES = named([ROOT / "services" / service / "service.py" for service in SERVICES])


@pytest.mark.parametrize("path", OF_SERVICES.values(), ids=OF_SERVICES)
def test_services_use_our_entrypoints_and_not_those_that_lose_messages(path: Path) -> None:
    used = {name for name in imports(path) if starts_with(name, "nameko") and name.rpartition(".")[2] in STOCK}
    assert not used
    assert "requeue_on_error" not in path.read_text()
    assert not {name for name in imports(path) if starts_with(name, "nameko.events", "nameko.rpc", "nameko.standalone")}


@pytest.mark.parametrize("path", OF_SERVICES.values(), ids=OF_SERVICES)
def test_nameko_and_eventlet_stay_inside_the_chassis_and_the_service_classes(path: Path) -> None:
    if path.parent.name != "chassis" and path.name != "service.py":
        assert not {name for name in imports(path) if starts_with(name, "nameko", "eventlet", "kombu", "amqp")}


@pytest.mark.parametrize("path", DOMAINS.values(), ids=DOMAINS)
def test_a_domain_stands_on_the_standard_library_and_the_contracts(path: Path) -> None:
    own = f"services.{path.parent.name}"
    allowed = ("services.contracts", "services.chassis.messages", "services.chassis.later", own)
    forbidden = (f"{own}.service", f"{own}.repository", f"{own}.views")
    for name in imports(path):
        known = starts_with(name, *allowed) or name.partition(".")[0] in sys.stdlib_module_names
        assert known and not starts_with(name, *forbidden), name


@pytest.mark.parametrize("path", OF_SERVICES.values(), ids=OF_SERVICES)
def test_a_service_never_imports_another(path: Path) -> None:
    here = path.relative_to(ROOT / "services").parts[0]
    others = [f"services.{service}" for service in SERVICES if service != here]
    assert not {name for name in imports(path) if starts_with(name, *others, "gateway", "deploy")}


CONTRACTS = named(sources("services/contracts"))


@pytest.mark.parametrize("path", CONTRACTS.values(), ids=CONTRACTS)
def test_contracts_know_pydantic_and_the_shape_of_messages_only(path: Path) -> None:
    allowed = ("services.contracts", "services.chassis.messages", "pydantic", "typing_extensions")
    for name in imports(path):
        assert starts_with(name, *allowed) or name.partition(".")[0] in sys.stdlib_module_names, name


GATEWAY = named(sources("gateway"))


@pytest.mark.parametrize("path", GATEWAY.values(), ids=GATEWAY)
def test_the_gateway_knows_contracts_and_no_service(path: Path) -> None:
    chassis = tuple(f"services.chassis.{name}" for name in ("messages", "telemetry", "breaker", "environment"))
    allowed = ("services.contracts", *chassis)
    ours = {name for name in imports(path) if starts_with(name, "services")}
    assert not {name for name in ours if not starts_with(name, *allowed)}
    assert not {name for name in imports(path) if starts_with(name, "eventlet", "nameko", "pymongo", "deploy")}


def test_the_gateway_loads_no_eventlet_nameko_or_pymongo_by_way_of_others_either() -> None:
    script = (
        "import sys, gateway.app; print([m for m in ('eventlet', 'nameko', 'pymongo', 'bson') if m in sys.modules])"
    )
    environment = {"PATH": "", "AMQP_URI": "amqp://nowhere", "SIDAN_TOKEN_SECRET": "abcdefghijklmnopqrstuvwxyz" * 2}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("path", SERVICE_MODULES.values(), ids=SERVICE_MODULES)
def test_a_service_is_one_class_with_a_name_and_without_base_or_state(path: Path) -> None:
    (service,) = classes(path)
    assigned = {target.id for node in service.body if isinstance(node, ast.Assign) for target in node.targets}
    assert {"name", "uow"} <= assigned
    assert service.bases == []
    assert "__init__" not in {node.name for node in service.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", SERVICE_MODULES.values(), ids=SERVICE_MODULES)
def test_every_public_method_of_a_service_is_an_entrypoint(path: Path) -> None:
    (service,) = classes(path)
    for method in service.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            decorators = {ast.unparse(decorator).partition("(")[0] for decorator in method.decorator_list}
            assert len(decorators & {"command", "query", "subscribe", "every"}) == 1, method.name
            assert not re.match(r"handle_|on_|process_", method.name)


@pytest.mark.parametrize("path", ALL.values(), ids=ALL)
def test_classes_are_named_by_what_they_are(path: Path) -> None:
    assert not [node.name for node in classes(path) if BANNED_WORDS.search(node.name)]


def test_the_banned_names_are_found() -> None:
    bad = ["OrderManager", "DateHelper", "StringUtils", "BaseService", "AbstractRepo", "IRepository", "OrderInfo"]
    good = ["Order", "Item", "Issue", "Invalid", "Idempotency", "Database", "InformationBoard"]
    assert all(map(BANNED_WORDS.search, bad))
    assert not any(map(BANNED_WORDS.search, good))
