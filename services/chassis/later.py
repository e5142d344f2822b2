"""Lists that few who load an aggregate look into."""

from collections.abc import MutableSequence
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


class Later:
    """Marks a list of an aggregate: it is read out of its document when somebody looks into it.

    So what grows all the time, as a history, is not read through and written anew by every command.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        items = TypeAdapter[list[Any]](source)

        def written(value: Any) -> Written:
            return Written(value.document() if isinstance(value, Unread) else items.dump_python(value))

        return core_schema.no_info_plain_validator_function(
            lambda document: Unread(document, items),
            serialization=core_schema.plain_serializer_function_ser_schema(written),
        )


class Written:
    """What is in the document, in a shape that pydantic leaves alone: it would look through all of it again."""

    def __init__(self, document: list[Any]) -> None:
        self.document = document


class Unread(MutableSequence[T], Generic[T]):
    """A list as its document has it, and what was appended to it."""

    def __init__(self, document: list[Any], adapter: TypeAdapter[list[T]]) -> None:
        self._document, self._adapter = document, adapter
        self._appended: list[T] = []
        self._read: list[T] | None = None

    def document(self) -> list[Any]:
        if self._read is not None:
            return self._dumped(self._read)
        return [*self._document, *self._dumped(self._appended)] if self._appended else self._document

    def insert(self, index: int, value: T) -> None:
        if self._read is None and index == len(self):
            self._appended.append(value)
        else:
            self._items.insert(index, value)

    def __len__(self) -> int:
        return len(self._document) + len(self._appended) if self._read is None else len(self._read)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._items[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | Unread) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    @property
    def _items(self) -> list[T]:
        if self._read is None:
            self._read = self._adapter.validate_python(self._document) + self._appended
        return self._read

    def _dumped(self, items: list[T]) -> list[Any]:
        dumped: list[Any] = self._adapter.dump_python(items)
        return dumped
