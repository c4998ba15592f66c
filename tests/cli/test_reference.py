"""The pages of the commands say what the commands say."""

from __future__ import annotations

from pathlib import Path

from cryosentinel_cli.reference import render_all

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_pages_are_true() -> None:
    pages = render_all()
    have = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "commands").glob("*.md")}
    assert have == pages, "run: python -m cryosentinel_cli.reference docs/commands"


def test_every_page_is_in_the_site() -> None:
    site = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for name in render_all():
        assert f"commands/{name}" in site


def test_no_command_forecasts() -> None:
    assert "never forecasts outbursts" in render_all()["predict.md"]
