"""Wrong settings, told in one line by the names of their variables, without their values."""

from pydantic import ValidationError


def describe(error: ValidationError) -> str:
    return "; ".join(f"{_variable(str(e['loc'][0]))}: {e['msg']}" for e in error.errors())


def _variable(name: str) -> str:
    return name if name.isupper() else f"SIDAN_{name.upper()}"
