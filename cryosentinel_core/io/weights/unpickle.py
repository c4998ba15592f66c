"""Reads PyTorch checkpoints as data: nothing in the file is imported and nothing in it is called.

A pickle is a program; loading one with Python's own loader runs it. This loader knows four harmless things (a dict, a
tensor, a parameter, a storage) and turns every other class or function that a pickle names into an inert placeholder
which remembers its name, arguments and state. Hyper-parameters that hold a path, a NumPy scalar, a Namespace or an
OmegaConf object so remain readable. It imports no torch: tensors come out as `TensorRecord`s, which `checkpoint` turns
into tensors after checking them.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, NoReturn

from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.learn.checkpoint_values import (
    Inert,
    InertDict,
    PlaceholderBudget,
    StorageRecord,
    TensorRecord,
    check_key,
)

MAX_PICKLE_BYTES: Final = 8 * 2**20
"""Longest pickle that is read; a network of 306 M parameters with optimiser state needs under 1 MiB."""

MAX_NAMES: Final = 2_000
"""Most classes and functions that a pickle may name."""

MAX_NUMEL: Final = 2**48
"""Most elements that a tensor may claim, whatever its strides."""

ITEM_BYTES: Final[dict[str, int]] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint8": 1, "bool": 1,
}  # fmt: skip
"""Element types that tensors may have, with their size."""

_STORAGES: Final = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_HINT: Final = "download it again, or ask its author for a safetensors file"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Layout of a PyTorch zip archive that was found sound.

    Attributes:
        pickle_name: Name of the record that holds the pickle.
        root: What every record's name starts with.
        offsets: Record name -> (first byte in the file, bytes).
    """

    pickle_name: str
    root: str
    offsets: dict[str, tuple[int, int]]


class _Allowed:
    """A callable that a pickle may call; it has no attributes that a pickle could set."""

    __slots__ = ()

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a function takes no state")


class _MakeDict(_Allowed):
    __slots__ = ()

    def __call__(self, *args: Any) -> InertDict:
        made = InertDict()
        for pairs in args:
            for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
                check_key(key)
                made[key] = value
        return made


class _MakeTensor(_Allowed):
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRecord:
        return _tensor_record(storage, offset, shape, stride)


class _MakeParameter(_Allowed):
    __slots__ = ()

    def __call__(self, data: Any, *_: Any) -> Any:
        return data


class _MakeTuple(_Allowed):
    __slots__ = ()

    def __call__(self, items: Any = ()) -> tuple[Any, ...]:
        return tuple(items) if isinstance(items, list | tuple) else ()


class _StorageType(_Allowed):
    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, *_: Any) -> NoReturn:
        raise pickle.UnpicklingError("a storage outside the archive")


_ALLOWED: Final[dict[tuple[str, str], _Allowed]] = {
    ("collections", "OrderedDict"): _MakeDict(),
    ("torch._utils", "_rebuild_tensor_v2"): _MakeTensor(),
    ("torch._utils", "_rebuild_parameter"): _MakeParameter(),
    ("torch._utils", "_rebuild_parameter_with_state"): _MakeParameter(),
    ("torch", "Size"): _MakeTuple(),
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGES.items()},
}


def _tensor_record(storage: Any, offset: Any, shape: Any, stride: Any) -> TensorRecord:
    ints = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) <= 8
    if not isinstance(storage, StorageRecord) or not ints or not all(type(v) is int for v in (offset, *shape, *stride)):
        raise pickle.UnpicklingError("a tensor is not described by a storage and integers")
    if offset < 0 or min((*shape, *stride), default=0) < 0:
        raise pickle.UnpicklingError("a tensor has a negative size, stride or offset")
    if max((*shape, *stride), default=0) >= MAX_NUMEL or math.prod(shape) >= MAX_NUMEL:
        raise pickle.UnpicklingError(f"a tensor claims {MAX_NUMEL} elements or more")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.numel:
        raise pickle.UnpicklingError(
            f"a tensor of shape {shape} reaches beyond its storage of {storage.numel} elements"
        )
    return TensorRecord(storage, offset, shape, stride)


_Parser: Any = vars(pickle)["_Unpickler"]
"""The standard library's parser written in Python, which has no public name."""


class _DataUnpickler(_Parser):  # type: ignore[misc]
    """Python's own parser of pickles, with every name resolved to data.

    It is the parser written in Python: the one in C hashes keys and makes room for memos before anything can be checked.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Parser.dispatch)

    def __init__(self, content: bytes, archive: Archive) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.archive = archive
        self.classes: dict[str, type[Inert]] = {}
        self.budget = PlaceholderBudget()

    def find_class(self, module_name: str, global_name: str) -> Any:
        allowed = _ALLOWED.get((module_name, global_name))
        if allowed is not None:
            return allowed
        name = f"{module_name}.{global_name}"
        if name not in self.classes:
            if len(self.classes) >= MAX_NAMES or len(name) > 1_000:
                raise pickle.UnpicklingError(f"more than {MAX_NAMES} names, or one of over 1,000 characters")
            self.classes[name] = type("Inert", (Inert,), {"class_name": name, "budget": self.budget})
        return self.classes[name]

    def load_setitem(self) -> None:
        check_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            check_key(key)
        super().load_setitems()

    def load_dict(self) -> None:
        for key in self.stack[::2]:
            check_key(key)
        super().load_dict()

    def load_additems(self) -> None:
        for element in self.stack:
            check_key(element)
        super().load_additems()

    def load_frozenset(self) -> None:
        for element in self.stack:
            check_key(element)
        super().load_frozenset()

    def load_bytearray8(self) -> None:
        raise pickle.UnpicklingError("byte arrays are not read")

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }

    def persistent_load(self, pid: Any) -> StorageRecord:
        if isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage":
            _, kind, key, _, numel = pid
            if isinstance(kind, _StorageType) and isinstance(key, str) and type(numel) is int and numel >= 0:
                _, length = self.archive.offsets.get(f"{self.archive.root}data/{key}", (0, -1))
                if length < numel * ITEM_BYTES[kind.dtype]:
                    raise pickle.UnpicklingError(f"record data/{key} is missing or too short ({length} bytes)")
                return StorageRecord(key, kind.dtype, numel)
            raise pickle.UnpicklingError("a storage of a kind that no network here has")
        raise pickle.UnpicklingError(f"unknown reference of type {type(pid).__name__}")


def inspect_archive(path: Path) -> Archive:
    """The layout of a checkpoint's zip archive, without reading its contents.

    PyTorch stores records uncompressed, so the records cannot be larger than the file: a compressed or overlapping
    record is a bomb and refused.

    Raises:
        CheckpointError: If the file is no such archive, truncated, compressed or a TorchScript archive.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            _refuse_unsound(path, infos, size)
            pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError(f"{path} is a zip file but no PyTorch checkpoint (no data.pkl inside)", _HINT)
            root = pickles[0].removesuffix("data.pkl")
            if f"{root}constants.pkl" in names:
                raise CheckpointError(f"{path} is a TorchScript archive: a program, not weights", _HINT)
            offsets = {info.filename: (_data_offset(file, info), info.file_size) for info in infos}
            byteorder = offsets.get(f"{root}byteorder")
            if byteorder is not None and archive.read(f"{root}byteorder") != b"little":
                raise CheckpointError(f"{path} was written on a big-endian machine", _HINT)
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged or truncated: {error}", _HINT) from error
    for name, (start, length) in offsets.items():
        if start + length > size:
            raise CheckpointError(f"{path} is truncated: {name} ends at byte {start + length} of {size}", _HINT)
    return Archive(pickle_name=pickles[0], root=root, offsets=offsets)


def _refuse_unsound(path: Path, infos: list[zipfile.ZipInfo], size: int) -> None:
    packed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]
    if packed:
        raise CheckpointError(f"{path}: {packed[0]} is compressed or encrypted; PyTorch stores records plainly", _HINT)
    total = sum(info.file_size for info in infos)
    if total > size:
        raise CheckpointError(f"{path}: its records claim {total} bytes, the file has {size}", _HINT)
    if any(
        info.filename.startswith("/") or "\\" in info.filename or ".." in info.filename.split("/") for info in infos
    ):
        raise CheckpointError(f"{path} names a record outside itself", _HINT)
    if len({info.filename for info in infos}) != len(infos):
        raise CheckpointError(f"{path} names a record twice", _HINT)
    for info in infos:
        if info.filename.endswith("data.pkl") and info.file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(
                f"{path}: its pickle has {info.file_size} bytes, at most {MAX_PICKLE_BYTES} are read", _HINT
            )


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """First byte of a stored record: behind its local header, whose name and extra field have lengths of their own."""
    file.seek(info.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no local header for {info.filename}")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return int(info.header_offset) + 30 + int(name_length) + int(extra_length)


def read_as_data(path: Path, archive: Archive) -> Any:
    """The object that the archive's pickle describes, with every class an `Inert` and every tensor a `TensorRecord`.

    Raises:
        CheckpointError: If the pickle is malformed or describes a tensor that is not in the archive.
    """
    start, length = archive.offsets[archive.pickle_name]
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(length)
    try:
        return _DataUnpickler(content, archive).load()
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested too deeply", _HINT) from error
    except Exception as error:  # a malformed pickle can raise nearly anything, and none of it is ours
        reason = str(error)[:300]
        raise CheckpointError(f"{path} cannot be read as data: {type(error).__name__}: {reason}", _HINT) from error
