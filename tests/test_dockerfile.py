"""What can be said of the Dockerfile without Docker: instructions, the paths that it copies, the Python and packages that it takes."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from cryosentinel_cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
KNOWN = {"FROM", "ARG", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction, lines that go on joined."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_instructions_are_known_and_in_order() -> None:
    words = [word for word, _ in instructions()]
    assert set(words) <= KNOWN
    assert words[0] == "FROM"
    assert words[-2:] == ["ENTRYPOINT", "CMD"]
    for word, rest in instructions():
        if word in ("ENTRYPOINT", "CMD"):
            assert rest.startswith('["')
            assert rest.endswith('"]')


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    ]
    copied = [path for word, rest in instructions() if word == "COPY" for path in rest.split()[:-1]]
    assert {"pyproject.toml", "cryosentinel_core", "cryosentinel_cli"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, pattern) for pattern in kept), f"{path} is in .dockerignore"
    licences = project()["license-files"]
    assert isinstance(licences, list)
    assert {project()["readme"], *licences} <= set(copied), "the build looks for these"


def test_python_and_packages_are_the_project_s() -> None:
    (image,) = [rest for word, rest in instructions() if word == "FROM"]
    version = re.fullmatch(r"python:(\d+)\.(\d+)-slim", image)
    assert version is not None
    least, most = re.findall(r"\d+\.(\d+)", str(project()["requires-python"]))
    assert int(least) <= int(version[2]) < int(most)
    (first, second) = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    wanted = str(project()["dependencies"])
    assert "'torch>=" in wanted
    assert re.match(
        r"pip install --no-cache-dir torch torchvision \$\{TORCH_INDEX:\+--index-url \$\{TORCH_INDEX\}\}$", first
    )
    assert second == "pip install --no-cache-dir /src && rm -rf /src"


def test_the_entry_point_is_a_command() -> None:
    (entry,) = [rest for word, rest in instructions() if word == "ENTRYPOINT"]
    scripts = project()["scripts"]
    assert isinstance(scripts, dict)
    assert entry == '["cryosentinel"]'
    assert "cryosentinel" in scripts
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        used = re.search(r":/data cryosentinel (\w+)", line)
        assert used is None or used[1] in cli.commands


def test_shell_lines_are_shell() -> None:
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no shell")
    for word, rest in instructions():
        if word == "RUN":
            subprocess.run([shell, "-n", "-c", rest], check=True)
