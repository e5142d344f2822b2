"""The files of a backup: one compressed BSON file a collection, and a manifest that is written last.

A folder without a manifest is a backup that was cut off. Files are read and written as streams.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import bson
from bson import CodecOptions, json_util
from bson.raw_bson import RawBSONDocument

from deploy.operate.commands import Refused

FORMAT = 2
MANIFEST = "manifest.json"
SUFFIX = ".bson.gz"
COMPRESSION = 3
"""Personal data is encrypted and does not shrink; more effort gains little."""
CHUNK = 1 << 20  # bytes
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Damaged(Refused):
    """A folder that cannot be used; the text says why."""


class _Hashed:
    """A file that sums what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sum, self.size = file, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        self.sum.update(content)
        self.size += len(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


class Sheet:
    """One file that is being written."""

    def __init__(self, name: str, file: Any) -> None:
        self.name, self.documents = name, 0
        self._file = file

    def add(self, raw: bytes | memoryview) -> None:
        self._file.write(raw)
        self.documents += 1


class Archive:
    """A folder that a backup is written to; it must not hold anything yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Raise ``Damaged``."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(self.folder.iterdir()):
            cut_off = not (self.folder / MANIFEST).exists() and any(self.folder.rglob(f"*{SUFFIX}"))
            why = "a backup that was cut off: remove it" if cut_off else "not empty: give a new folder"
            raise Damaged(f"{self.folder} is {why}")

    @contextmanager
    def sheet(self, name: str) -> Iterator[Sheet]:
        """``name`` may hold a slash; the file is on the disk when the block ends."""
        path = self.folder / f"{name}{SUFFIX}"
        path.parent.mkdir(exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            hashed = _Hashed(file)
            with gzip.GzipFile("", "wb", COMPRESSION, hashed, mtime=0) as packed:
                sheet = Sheet(name, packed)
                yield sheet
            file.flush()
            os.fsync(file.fileno())
        self.files[name] = {"documents": sheet.documents, "bytes": hashed.size, "sha256": hashed.sum.hexdigest()}

    def finish(self, **told: Any) -> dict[str, Any]:
        """The backup is one from here on; its manifest."""
        manifest = {"format": FORMAT, **told, "files": self.files}
        text = json_util.dumps(manifest, indent=2, ensure_ascii=False)
        draft = self.folder / f"{MANIFEST}.new"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / MANIFEST)
        _sync_folder(self.folder)
        return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raise ``Damaged``."""
    path = folder / MANIFEST
    if not path.exists():
        cut_off = folder.is_dir() and any(folder.rglob(f"*{SUFFIX}"))
        raise Damaged(f"{folder} holds {'a backup that was cut off: it has no manifest' if cut_off else 'no backup'}")
    try:
        manifest: dict[str, Any] = json_util.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} cannot be read: {error}") from None
    if manifest.get("format") != FORMAT:
        raise Damaged(f"{path} has format {manifest.get('format')}, this version reads {FORMAT}")
    return manifest


def check_file(folder: Path, name: str, told: Mapping[str, Any]) -> None:
    """Whether the file is as it was written; raise ``Damaged``."""
    path, found = folder / f"{name}{SUFFIX}", hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}") from None
    if found.hexdigest() != told["sha256"]:
        raise Damaged(f"{path} is not what was written: its SHA-256 differs")


def documents(folder: Path, name: str) -> Iterator[RawBSONDocument]:
    """Of a file that was checked."""
    with _unpacked(folder, name) as file:
        yield from bson.decode_file_iter(file, RAW)


def documents_of(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The same, decoded."""
    with _unpacked(folder, name) as file:
        yield from bson.decode_file_iter(file)


def _unpacked(folder: Path, name: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(folder / f"{name}{SUFFIX}"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
