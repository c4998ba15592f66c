"""The documentation names every column, leads nowhere that is not there, and speaks of no machine of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cryosentinel_core.change.cross_check import CHECK_COLUMNS
from cryosentinel_core.change.lake_keys import REGISTRY_COLUMNS
from cryosentinel_core.change.since import SINCE_COLUMNS
from cryosentinel_core.change.totals import TOTAL_COLUMNS
from cryosentinel_core.lakes.tables import (
    AGREEMENT,
    BAND_COLUMNS,
    CHANGE_COLUMNS,
    LAKE_COLUMNS,
    SERIES_COLUMNS,
    TREND_COLUMNS,
    Reason,
    Status,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
MAX_IMAGE_BYTES = 500_000

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_SECTION = re.compile(r"^## ", re.MULTILINE)
_MACHINE = re.compile(r"(?<![\w.~<>])/(?:home|root|Users|work|opt|mnt|tmp|private|workspace)/|[A-Z]:\\")


def _name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _explained(section: str) -> set[str]:
    """The names in the first cell of each table row under a heading of docs/data.md that begins with these words."""
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    found = [part for part in _SECTION.split(text) if part.startswith(section)]
    assert len(found) == 1, f"docs/data.md has {len(found)} sections {section!r}"
    rows = (line.split("|") for line in found[0].splitlines() if line.startswith("| "))
    return {name for row in rows if len(row) > 2 and row[-2].strip() for name in re.findall(r"`([^`]+)`", row[1])}


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("Lakes of a year", (*LAKE_COLUMNS, *BAND_COLUMNS)),
        ("Change table", (*CHANGE_COLUMNS, *TREND_COLUMNS, AGREEMENT)),
        ("Check", CHECK_COLUMNS),
        ("News", SINCE_COLUMNS),
        ("Series", SERIES_COLUMNS),
        ("Totals", TOTAL_COLUMNS),
        ("Registry", REGISTRY_COLUMNS),
        ("Status and reason", tuple(map(str, Status)) + tuple(str(reason) for reason in Reason if reason)),
    ],
)
def test_every_column_and_word_is_explained(section: str, wanted: tuple[str, ...]) -> None:
    missing = [name for name in wanted if name not in _explained(section)]
    assert not missing, f"docs/data.md, section {section!r}, does not explain {', '.join(missing)}"


def test_no_column_is_explained_that_does_not_exist() -> None:
    assert _explained("Lakes of a year") - {"geometry"} == {*LAKE_COLUMNS, *BAND_COLUMNS}
    assert _explained("Change table") - {"geometry"} == {*CHANGE_COLUMNS, *TREND_COLUMNS, AGREEMENT}
    assert _explained("Series") == set(SERIES_COLUMNS)


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken, f"{_name_of(page)} leads to what is not there: {', '.join(broken)}"


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_no_page_names_a_folder_of_somebody_s_machine(page: Path) -> None:
    found = [line for line in page.read_text(encoding="utf-8").splitlines() if _MACHINE.search(line)]
    assert not found, f"{_name_of(page)}: {found}"


def test_every_page_is_in_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert f" {page.name}\n" in site, f"{page.name} is not in the navigation of mkdocs.yml"
    for page in (DOCS / "commands").glob("*.md"):
        assert f" commands/{page.name}\n" in site, f"commands/{page.name} is not in the navigation of mkdocs.yml"
    for name in re.findall(r": ([\w-]+\.md)$", site, re.MULTILINE):
        assert (DOCS / name).exists(), f"mkdocs.yml names {name}, which is not there"


def test_images_are_small() -> None:
    images = [path for path in (DOCS / "images").iterdir() if path.suffix in (".png", ".jpg", ".svg")]
    assert images
    for path in images:
        assert path.stat().st_size <= MAX_IMAGE_BYTES, f"{path.name} has {path.stat().st_size} bytes"
