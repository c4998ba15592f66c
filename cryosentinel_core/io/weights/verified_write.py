"""Checkpoints written so that a good one is always there: beside the target, to the disk, read back, and only then renamed.

Neighbours: `run_folder` names them; `checkpoint_write` is for files that are made once and can be made again.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cryosentinel_core.errors import CheckpointError, OutputWrite
from cryosentinel_core.io.weights.unpickle import inspect_archive, read_as_data
from cryosentinel_core.io.workspace import translate_os_error, writing


def write_verified(path: Path, content: Mapping[str, Any]) -> Path:
    """A checkpoint in PyTorch's format, whole under its name or not at all; what was there before stays until then.

    The file is forced to the disk, then read back: every record against its own checksum, the pickle as data.

    Args:
        path: Where to; its folder is made.
        content: Plain values and tensors.

    Raises:
        OutputWrite: If the disk refuses, or gives back other bytes than were written.
    """
    try:
        with writing(path) as part:
            with part.open("wb") as file:
                torch.save(dict(content), file)
                file.flush()
                os.fsync(file.fileno())
            _read_back(part, path)
        _sync_folder(path.parent)
    except RuntimeError as error:
        # PyTorch's writer reports a refused write as its own error, with the disk's as its cause or not at all.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OSError):
            raise translate_os_error(cause, path) from error
        raise OutputWrite(f"{path} could not be written: {str(error).splitlines()[0]}", "is the disk full?") from error
    return path


def _read_back(part: Path, path: Path) -> None:
    """Refuse a file whose records are not what was written."""
    try:
        read_as_data(part, inspect_archive(part))
        with zipfile.ZipFile(part) as archive:
            damaged = archive.testzip()
    except (CheckpointError, zipfile.BadZipFile) as error:
        raise OutputWrite(f"{path} was written, but cannot be read back: {error}", "check that disk") from error
    if damaged is not None:
        raise OutputWrite(f"{path} was written, but {damaged} in it reads back otherwise", "check that disk")


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk, where the system lets folders be opened."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
