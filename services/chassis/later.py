"""Lists that few who load an aggregate look into."""

from collections.abc import Iterable, MutableSequence
from typing import Any, Generic, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from services.chassis.personal import MARK, personal_fields, seal, unseal

T = TypeVar("T")


class Later:
    """Marks a list of an aggregate: it is read out of its document when somebody looks into it.

    So what grows all the time, as a history, is not read through and written anew by every command. Personal
    texts of its items are encrypted in the document, each by itself.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        items = _Items(source)

        def written(value: Any) -> Written:
            return Written(value.document() if isinstance(value, Unread) else items.dumped(value))

        return core_schema.no_info_plain_validator_function(
            lambda document: Unread(document, items),
            serialization=core_schema.plain_serializer_function_ser_schema(written),
        )


class _Items:
    """How the items of a list stand in a document."""

    def __init__(self, source: Any) -> None:
        self._adapter = TypeAdapter[list[Any]](source)
        (item,) = get_args(source)
        self._personal = personal_fields(item)

    def dumped(self, items: list[Any]) -> list[Any]:
        documents: list[Any] = self._adapter.dump_python(items)
        return [seal(document, self._personal) for document in documents] if self._personal else documents

    def dumped_over(self, documents: list[Any], items: list[Any]) -> list[Any]:
        """What has not changed stays as it stands in ``documents``: a text is not encrypted anew for nothing."""
        before = self.read(documents)
        changed = [at for at, item in enumerate(items) if at >= len(before) or item != before[at]]
        anew = dict(zip(changed, self.dumped([items[at] for at in changed]), strict=True))
        return [anew[at] if at in anew else documents[at] for at in range(len(items))]

    def read(self, documents: list[Any]) -> list[Any]:
        if self._personal:
            documents = [unseal(document, self._encrypted(document)) for document in documents]
        return self._adapter.validate_python(documents)

    def _encrypted(self, document: dict[str, Any]) -> Iterable[str]:
        """Not those from before they were encrypted."""
        return (name for name in self._personal if str(document.get(name)).startswith(MARK))


class Written:
    """What is in the document, in a shape that pydantic leaves alone: it would look through all of it again."""

    def __init__(self, document: list[Any]) -> None:
        self.document = document


class Unread(MutableSequence[T], Generic[T]):
    """A list as its document has it, and what was appended to it."""

    def __init__(self, document: list[Any], items: _Items) -> None:
        self._document, self._kind = document, items
        self._appended: list[T] = []
        self._read: list[T] | None = None

    def document(self) -> list[Any]:
        if self._read is not None:
            return self._kind.dumped_over(self._document, self._read)
        return [*self._document, *self._kind.dumped(self._appended)] if self._appended else self._document

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
            self._read = self._kind.read(self._document) + self._appended
        return self._read
