"""bf16 where windows of the job bear it: what is begun is gone on with, refusals are told, a second run costs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_chips import lake_chip, make_dataset
from made_stack import FakeNetwork, cells_of, make_jobs, write_made_stack

from cryosentinel_core.engine.job_precision import choose_job_precision, sample_windows
from cryosentinel_core.errors import ModelError
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.segmenter import AdjustablePrecision, ChipBatch
from cryosentinel_core.settings.chips import ChipSelection
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows import chips, predict

SEEN = cells_of(4, 4)


class Undecided(FakeNetwork):
    """May compute in bf16, which errs as told; counts how often it is asked."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__(4)
        self.error, self.precision, self.is_precision_open = error, "bf16", True
        self.n_checks = 0

    @property
    def digest(self) -> str:  # type: ignore[override]
        return f"fake-{self.precision}"

    def use_precision(self, precision: Any) -> None:
        if not self.is_precision_open:
            raise ModelError("settled")
        self.precision = precision

    def fix_precision(self) -> None:
        self.is_precision_open = False

    def bf16_error(self, batch: ChipBatch) -> float:
        self.n_checks += 1
        assert batch.s2.any(axis=(1, 2, 3)).all(), "only windows in which something was seen"
        return self.error


class Hearing(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def one_chip() -> ChipBatch:
    flat = np.ones((1, 224, 224), np.float32)
    return ChipBatch(
        s2=np.ones((1, 12, 224, 224), np.uint16), s1=None, dem=flat[:, None], valid=flat > 0, shadow=flat, snow=flat,
        water=flat, addresses=np.zeros((1, 2), np.int64),
    )  # fmt: skip


@pytest.mark.parametrize(("error", "wanted"), [(0.0, "bf16"), (0.03, "bf16"), (0.031, "float32"), (np.inf, "float32")])
def test_by_the_error_on_the_job_s_own_windows(error: float, wanted: str) -> None:
    fake, hearing = Undecided(error), Hearing()
    assert isinstance(fake, AdjustablePrecision)
    choose_job_precision(fake, lambda: False, one_chip, hearing)
    assert (fake.precision, fake.is_precision_open, fake.n_checks) == (wanted, False, 1)
    assert [("float32" in note, "0.03" in note or "inf" in note) for note in hearing.notes] == (
        [] if wanted == "bf16" else [(True, True)]
    )


@pytest.mark.parametrize("begun", ["bf16", "float32"])
def test_what_is_begun_is_gone_on_with(begun: str) -> None:
    fake = Undecided(error=0.0 if begun == "float32" else 9.0)
    choose_job_precision(fake, lambda: fake.precision == begun, one_chip, Silent())
    assert (fake.precision, fake.is_precision_open, fake.n_checks) == (begun, False, 0)


def test_a_job_without_windows_and_a_precision_that_is_settled() -> None:
    fake = Undecided(9.0)
    choose_job_precision(fake, lambda: False, lambda: None, Silent())
    assert (fake.precision, fake.is_precision_open, fake.n_checks) == ("bf16", False, 0)
    choose_job_precision(fake, lambda: pytest.fail("not asked"), lambda: pytest.fail("not asked"), Silent())
    choose_job_precision(FakeNetwork(), lambda: pytest.fail("not asked"), lambda: pytest.fail("not asked"), Silent())


@pytest.mark.parametrize("tile_cells", [1, 2])
def test_the_sample_is_of_seen_windows_from_all_over(tmp_path: Path, tile_cells: int) -> None:
    stack = write_made_stack(tmp_path / "stack", SEEN, blank=tuple(SEEN[:6]))
    jobs = make_jobs(stack, tmp_path, SEEN, tile_cells)
    batch = sample_windows(jobs, FakeNetwork())
    assert batch is not None
    assert batch.s2.any(axis=(1, 2, 3)).all()
    rows = {int(row) // 224 for row, _ in batch.addresses}
    assert 2 <= len(batch) <= 4
    assert len(rows) > 1
    blank = write_made_stack(tmp_path / "blank", SEEN, blank=tuple(SEEN))
    assert sample_windows(make_jobs(blank, tmp_path, SEEN, tile_cells), FakeNetwork()) is None
    assert sample_windows([], FakeNetwork()) is None


def test_an_area(small_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run decides, the second goes on without asking, also where it would now decide otherwise."""
    area = load_area(str(small_catalogue / "aoi.geojson"))
    for name, error, wanted in (("good", 0.01, "bf16"), ("bad", 0.5, "float32")):
        for number, own_error in enumerate((error, 0.51 - error)):
            fake = Undecided(own_error)
            monkeypatch.setattr(predict, "build_segmenter", lambda *_, fake=fake: fake)
            settings = PredictSettings(model="made.ckpt", overlap=0.0, device="cpu")
            predict.predict(
                Workspace(tmp_path / name), area, [2023], settings, FetchSettings(catalog=str(small_catalogue)),
                reporter=Silent(),
            )  # fmt: skip
            assert (fake.precision, fake.n_checks) == (wanted, 1 - number)
            assert bool(fake.batches) == (number == 0), "nothing is computed twice"
        record = json.loads(next((tmp_path / name).rglob("fake-00000000/run.json")).read_text())
        assert record["settings"]["segmenter_digest"] == f"fake-{wanted}"


def test_chips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = lake_chip(0)
    blank.s2[:] = 0
    source = make_dataset(tmp_path / "data", [blank, lake_chip(1), lake_chip(2)])
    for number, error in enumerate((0.5, 0.0)):
        fake = Undecided(error)
        monkeypatch.setattr(chips, "build_segmenter", lambda *_, fake=fake: fake)
        summary = chips.predict_chips(
            Workspace(tmp_path), ChipSelection(path=source), PredictSettings(model="made.ckpt"), reporter=Silent()
        )
        assert (fake.precision, fake.n_checks, summary.n_reused) == ("float32", 1 - number, 3 * number)
