"""Names and writes: nothing leaves the workspace, nothing half-written gets a final name."""

from __future__ import annotations

import errno
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosentinel_core.errors import InputError, OutputWrite
from cryosentinel_core.io.workspace import (
    MAX_NAME_BYTES,
    Workspace,
    is_current,
    read_json,
    remove_leftovers,
    safe_name,
    translate_os_error,
    write_json,
    writing,
)
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.stack.recipe import Recipe


@given(st.text(max_size=200))
def test_safe_names_stay_in_their_folder(text: str) -> None:
    name = safe_name(text)
    assert name
    assert "/" not in name
    assert not name.startswith(".")
    assert (Path("/w") / name).resolve().parent == Path("/w")
    assert safe_name(name) == name
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert unicodedata.is_normalized("NFC", name)


def test_safe_names_keep_letters_of_any_script() -> None:
    wanted = {
        "озёра": "озёра", "e\u0308": "ë", "ил/Алатау №1": "ил_Алатау_1", "冰湖 2023": "冰湖_2023", "\u202egpj.x": "gpj.x",
        "..": "unnamed", "_.-": "unnamed", "\u0301a": "a", "a\0b": "a_b", "я" * 200: "я" * 60, "a" * 119 + "я": "a" * 119,
    }  # fmt: skip
    assert {text: safe_name(text) for text in wanted} == wanted


def test_places(tmp_path: Path) -> None:
    home = Workspace(tmp_path)
    assert home.scenes("a", 2023) == tmp_path / "a" / "2023" / "scenes.json"
    assert home.stack("a", 2023, Recipe()) == tmp_path / "a" / "2023" / f"stack-{Recipe().digest}"
    assert home.change("a", (2017, 2023), "water-index") == tmp_path / "a" / "change_2017_2023_water-index"
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(InputError):
            home.area(name)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), writing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [one.name for one in path.parent.iterdir()] == ["file.json"]


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "word"), [(errno.ENOSPC, "no space"), (errno.EROFS, "not allowed"), (errno.EIO, "could not")]
)
def test_the_disk_in_words(code: int, word: str) -> None:
    error = translate_os_error(OSError(code, "x"), Path("f"))
    assert isinstance(error, OutputWrite)
    assert word in error.message
    assert error.hint


def test_damaged_json_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a":')
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "nothing.json") is None


def test_current_means_same_digest_and_all_results(tmp_path: Path) -> None:
    provenance = Provenance(kind="k", settings={"a": 1})
    record, result = tmp_path / "r.json", tmp_path / "r.tif"
    assert not is_current(record, provenance, result)
    write_json(record, provenance.as_dict())
    assert not is_current(record, provenance, result)
    result.write_bytes(b"x")
    assert is_current(record, provenance, result)
    assert not is_current(record, Provenance(kind="k", settings={"a": 2}), result)


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".tmp-123-s2.tif").write_bytes(b"half")
    (tmp_path / "a" / "s2.tif").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["s2.tif"]
