"""The command line: light, documented, and plain about mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cryosentinel_cli.main import cli
from cryosentinel_core.errors import ConfigError
from cryosentinel_core.settings.predict import PredictSettings

HEAVY = ("torch", "rasterio", "geopandas", "pandas", "numpy", "pydantic", "matplotlib", "scipy", "shapely")


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100"},
        check=False,
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom cryosentinel_cli.main import cli\n"
        "result = CliRunner().invoke(cli, ['--help'])\nassert result.exit_code == 0, result.output\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in sorted(group.commands.items()):
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(cli), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_teaches(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    if isinstance(command, click.Group):
        return
    assert "cryosentinel " in command.help, "help without an example"
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--workspace", "-w", "--config", "--verbose", "-v", "--quiet", "-q", "--json"} <= flags
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{parameter.opts} says nothing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["change", "2023", "2017"], "ascend"),
        (["change", "2023", "2023"], "ascend"),
        (["change", "2023"], "at least 2 years"),
        (["predict"], "at least 1 year"),
        (["predict", "--year", "1999"], "no year of Sentinel-2"),
        (["predict", "--year", "2023", "--overlap", "0.3"], "'0.3' is not one of"),
        (["predict", "--year", "2023", "--batch-size", "many"], "neither auto nor a number"),
        (["predict", "--year", "2023", "--batch-size", "0"], "neither auto nor a number"),
        (["predict", "--year", "2023", "--device", "gpu"], "'gpu' is none of auto, cpu, cuda"),
        (["fetch", "--year", "2017-2023"], "given again for more: --year 2017 --year 2023"),
        (["fetch", "--year", "2017,", "2023"], "given again for more: --year 2017 --year 2023"),
        (["predict", "--year", "2017", "2023"], "given again for more: --year 2017 --year 2023"),
        (["predict", "--year", "soon"], "'soon' is not a valid integer"),
        (["predict", "--year", "2023", "2"], "unexpected extra argument (2)"),
        (["predict", "--year", "2023", "--uncertainty", "--model", "water-index"], "no members"),
        (["predict", "--year", "2023", "--uncertainty", "--no-tta"], "leaves one member"),
        (["predict", "--year", "2023", "--model", "a.ckpt", "--model", "water-index"], "is no network"),
        (["change", "--lakes", "2010=a.shp"], "YEAR=FILE@30m"),
        (["change", "--lakes", "2010=a.shp@30m"], "at least 2 inventories"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_known_failures_exit_1_with_a_hint_and_no_traceback(tmp_path: Path) -> None:
    done = run("predict", "--aoi", "nowhere.geojson", "--year", "2023", "--model", "water-index", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no file and no region named 'nowhere.geojson'")
    assert "try: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_no_aoi_in_an_empty_workspace(tmp_path: Path) -> None:
    done = run("change", "2017", "2023", cwd=tmp_path)
    assert done.returncode == 1
    assert "say which with --aoi" in done.stderr


def test_settings_file_is_merged_and_checked(tmp_path: Path) -> None:
    (tmp_path / "cryosentinel.toml").write_text('season = "09-30:07-01"\n')
    done = run("predict", "--aoi", "ile_alatau", "--year", "2023", cwd=tmp_path)
    assert (done.returncode, "ends before it begins" in done.stderr) == (1, True)
    done = run("predict", "--aoi", "nowhere", "--year", "2023", "--season", "07-01:08-31", cwd=tmp_path)
    assert "no region named 'nowhere'" in done.stderr, "the flag wins over the file"
    (tmp_path / "cryosentinel.toml").write_text("seeson = 1\n")
    done = run("predict", "--aoi", "ile_alatau", "--year", "2023", cwd=tmp_path)
    assert (done.returncode, "unknown keys seeson" in done.stderr) == (1, True)
    (tmp_path / "cryosentinel.toml").write_text("years = [2023\n")
    assert "is not TOML" in run("predict", "--aoi", "ile_alatau", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aoi = 5", "aoi is 5, wanted a text"),
        ('max_cloud = "many"', "max_cloud is 'many': 'many' is not a valid float"),
        ("max_cloud = 300", "max_cloud is 300: 300.0 is not in the range"),
        ("max_cloud = true", "max_cloud is True"),
        ('catalog = ["a"]', "catalog is ['a']"),
        ('tta = "maybe"', "tta is 'maybe'"),
        ("years = [true]", "years is [True]"),
        ('years = "2017"', "years is '2017'"),
        ("area_layer = 5", "area_layer is 5"),
        ("model = []", "model is []"),
        ('precision = "double"', "precision is 'double': 'double' is not one of"),
        ('device = "gpu"', "device is 'gpu': 'gpu' is none of"),
        ('watch = "gone.geojson"', "watch is 'gone.geojson': File 'gone.geojson' does not exist"),
    ],
)
def test_a_settings_file_says_what_is_wrong_in_it(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text + "\n")
    result = CliRunner().invoke(cli, ["change", "2017", "2023", "--aoi", "gone", "--config", str(tmp_path / "c.toml")])
    assert isinstance(result.exception, ConfigError), result.output
    assert result.exception.message.startswith(f"{tmp_path / 'c.toml'}: {message}")
    assert result.exception.hint


def test_a_settings_file_takes_what_the_flags_take(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'years = [2017, 2023]\noverlap = 0.75\nbatch_size = 4\nmax_cloud = 20\ntta = false\narea_layer = "a"\nmodel = ["a"]\n'
    )
    for command in ("change", "predict"):
        result = CliRunner().invoke(cli, [command, "--aoi", "gone", "--config", str(tmp_path / "c.toml")])
        assert "no region named 'gone'" in str(result.exception)


def test_a_settings_file_may_name_several_models(tmp_path: Path) -> None:
    """Paths in it are the file's; the flag replaces the whole list; one model may stand as a text, as ever."""
    (tmp_path / "here.ckpt").write_bytes(b"no weights")
    aoi = ["--aoi", "ile_alatau", "--year", "2023", "--config", str(tmp_path / "c.toml")]
    for text, message in (
        ('model = ["here.ckpt", "gone.ckpt"]', "no model file 'gone.ckpt'"),
        ('model = "gone.ckpt"', "no model file 'gone.ckpt'"),
        ('model = "waterindex"', "did you mean water-index?"),
        ('model = ["here.ckpt", 3]', 'write it as model = "soup.ckpt", or a list'),
        ("model = 3", "model is 3"),
        ('model = ["here.ckpt"]', "here.ckpt"),
    ):
        (tmp_path / "c.toml").write_text(text + "\n")
        done = run("predict", *aoi, "-w", str(tmp_path / "w"), cwd=tmp_path.parent)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "c.toml").write_text('model = ["here.ckpt", "gone.ckpt"]\n')
    done = run("predict", *aoi, "--model", "other.ckpt", "-w", str(tmp_path / "w"), cwd=tmp_path.parent)
    assert "no model file 'other.ckpt'" in done.stderr
    (tmp_path / "c.toml").write_text('model = "water-index"\nuncertainty = true\n')
    done = run("predict", *aoi, "-w", str(tmp_path / "w"), cwd=tmp_path.parent)
    assert (done.returncode, "use --no-uncertainty" in done.stderr) == (2, True)


def test_regions_as_json() -> None:
    result = CliRunner().invoke(cli, ["regions", "--json"])
    assert json.loads(result.stdout)["regions"]["ile_alatau"]["west"] == 76.5


def test_doctor_says_what_there_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--offline", "--json", "-w", str(tmp_path)])
    data = json.loads(result.stdout)
    assert data["gdal drivers"].endswith("COG, ZSTD")
    assert data["workspace writable"] is True
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli, ["doctor", "--offline", "--json", "-w", str(tmp_path / "file" / "w")])
    assert json.loads(result.stdout)["workspace writable"] is False
    assert "Earth Search" not in data


def test_inventories_beside_a_settings_file_with_years(tmp_path: Path) -> None:
    """The file's years are for imagery; years given on the command line with --lakes stay wrong usage."""
    (tmp_path / "cryosentinel.toml").write_text("years = [2017, 2023]\n")
    box = '{"type": "Polygon", "coordinates": [[[77, 43], [77.01, 43], [77.01, 43.01], [77, 43.01], [77, 43]]]}'
    for year in (2010, 2020):
        (tmp_path / f"{year}.geojson").write_text(box)
    lakes = ["--lakes", "2010=2010.geojson@30m", "--lakes", "2020=2020.geojson@30m"]
    done = run("change", *lakes, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["years"] == [2010, 2020]
    assert run("change", "2010", "2020", *lakes, cwd=tmp_path).returncode == 2


def test_a_catalogue_in_the_workspace_is_no_area(tmp_path: Path) -> None:
    box = '{"type": "Polygon", "coordinates": [[[77, 43], [77.01, 43], [77.01, 43.01], [77, 43.01], [77, 43]]]}'
    for name in ("catalogue", "lakes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "aoi.geojson").write_text(box)
    (tmp_path / "catalogue" / "catalog.json").write_text("{}")
    done = run("fetch", "--year", "2023", "--catalog", "nowhere", cwd=tmp_path)
    assert "areas (" not in done.stderr
    assert "nowhere" in done.stderr


def test_common_options_before_the_command_s_name(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    (tmp_path / "c.toml").write_text('season = "nonsense"\n')

    def ask(*arguments: str) -> str:
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    for arguments in (["-w", str(before)], [f"--workspace={before}", "-v"], ["-vqw", str(before)]):
        assert json.loads(ask(*arguments, "--json", "doctor", "--offline"))["workspace"] == str(before)
    assert json.loads(ask("-w", str(before), "--json", "doctor", "--offline", "-w", str(after)))["workspace"] == str(
        after
    )
    assert json.loads(ask("--json", "regions"))["regions"]
    for place in (0, 1):
        arguments = ["predict", "--aoi", "ile_alatau", "--year", "2023"]
        arguments[place:place] = ["--config", str(tmp_path / "c.toml")]
        assert "season 'nonsense'" in str(CliRunner().invoke(cli, arguments).exception)
    for arguments in (["--json", "model", "info", "gone.ckpt"], ["model", "--json", "info", "gone.ckpt"]):
        assert "no model file 'gone.ckpt'" in str(CliRunner().invoke(cli, arguments).exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--aoi", "x.geojson", "predict"], "--aoi belongs behind the command's name"),
        (["model", "--output", "x", "convert"], "--output belongs behind the command's name"),
        (["--verbos", "regions"], "No such option '--verbos'"),
        (["-w"], "'-w' requires an argument"),
        (["-w", "here"], "Missing command"),
    ],
)
def test_other_options_before_the_command_s_name(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_check_maps_the_years_with_another_model_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the first, but for what belongs to that alone; never with the same one, nor for inventories alone."""
    mapped: list[PredictSettings] = []
    asked: dict[str, Any] = {}

    def predict(*arguments: Any, **_: Any) -> SimpleNamespace:
        mapped.append(arguments[3])
        return SimpleNamespace(model=Path(arguments[3].model).stem, is_partial=False)

    def change(*_: Any, **keywords: Any) -> SimpleNamespace:
        asked.update(keywords)
        return SimpleNamespace(folder=tmp_path, as_dict=dict, as_text=str)

    monkeypatch.setattr("cryosentinel_core.workflows.predict.predict", predict)
    monkeypatch.setattr("cryosentinel_core.workflows.change.change", change)
    plain = ["change", "2017", "2023", "--aoi", "ile_alatau", "-w", str(tmp_path / "w"), "-q"]
    flags = [
        "--model",
        "soup.ckpt",
        "--threshold",
        "0.4",
        "--weights",
        "ema",
        "--uncertainty",
        "--overlap",
        "0",
        "--min-area",
        "6000",
    ]
    done = CliRunner().invoke(cli, [*plain, *flags, "--check", "water-index"])
    assert done.exit_code == 0, done.output
    first, second = mapped
    assert (first.model, first.threshold, first.weights, first.uncertainty) == ("soup.ckpt", 0.4, "ema", True)
    assert (second.model, second.threshold, second.weights, second.uncertainty) == ("water-index", None, "model", False)
    assert (second.overlap, second.min_area_m2) == (first.overlap, first.min_area_m2) == (0.0, 6000.0)
    assert asked["check_model"] == "water-index"
    mapped.clear()
    assert CliRunner().invoke(cli, plain).exit_code == 0
    assert len(mapped) == 1
    assert asked["check_model"] is None
    same = CliRunner().invoke(cli, [*plain, "--model", "water-index", "--check", "water-index"])
    assert (same.exit_code, "name another model" in same.output) == (2, True)
    mapped.clear()
    gone = CliRunner().invoke(cli, [*plain, "--check", "waterindex"])
    assert "did you mean water-index?" in getattr(gone.exception, "hint", "")
    assert not mapped, "told before anything is mapped"
    drawn = ["change", "--lakes", "2010=a.shp@30m", "--lakes", "2020=b.shp@30m", "--check", "water-index"]
    alone = CliRunner().invoke(cli, drawn)
    assert (alone.exit_code, "none is mapped" in alone.output) == (2, True)
