"""Data sets of chips, in a folder or on the Hugging Face hub: named, looked up, and only what is asked for fetched.

`hf://datasets/OWNER/NAME[@REVISION][/REGION[/YEAR]]`, region and year as names or patterns (`tien_*`, `202?`). Files of a data set
come through `weights.hub`, into the hub's own cache; names in a repository's listing choose no path on this machine but the cache's,
and only those in the published layout are looked at. Neighbour: `shards` reads what lies there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from cryosentinel_core.errors import DataError, InputError, ModelError
from cryosentinel_core.io.shards import ShardDataset, find_shards
from cryosentinel_core.io.weights.hub import HubReference, fetch_from_hub, quiet_client
from cryosentinel_core.reporter import Reporter

DATASETS_PREFIX: Final = "hf://datasets/"

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REFERENCE: Final = re.compile(
    rf"hf://datasets/(?P<repo>{_PART}/{_PART}?)(?:@(?P<revision>{_PART}))?"
    r"(?:/(?P<region>[A-Za-z0-9._*?\[\]-]+)(?:/(?P<year>[0-9*?\[\]-]+))?)?/?"
)
_SHARD: Final = re.compile(
    rf"(?P<folder>(?:{_PART}/)*)(?P<region>{_PART})/(?P<year>\d{{4}})/(?P<name>shard_[A-Za-z0-9._-]*\.parquet)"
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class DatasetReference:
    """A data set on the hub, and which of its regions and years are meant.

    Attributes:
        repo: `owner/name`.
        revision: Branch, tag or commit; None for the default branch.
        region: Name or pattern; None for all.
        year: Year or pattern of its four digits; None for all.
    """

    repo: str
    revision: str | None = None
    region: str | None = None
    year: str | None = None

    @classmethod
    def parse(cls, text: str) -> DatasetReference:
        """The parts of `hf://datasets/owner/name[@revision][/region[/year]]`.

        Raises:
            InputError: If it has another form.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None or ".." in text:
            raise InputError(
                f"cannot read the data set reference {text!r}",
                "wanted hf://datasets/OWNER/NAME, with @REVISION, /REGION and /YEAR behind it if need be",
            )
        return cls(repo=found["repo"], revision=found["revision"], region=found["region"], year=found["year"])

    def __str__(self) -> str:
        """As it was given, without region and year."""
        return f"{DATASETS_PREFIX}{self.repo}{f'@{self.revision}' if self.revision else ''}"


@dataclass(frozen=True, kw_only=True, order=True)
class HubShard:
    """A shard in a repository's listing.

    Attributes:
        folder: What lies above the region, ending in `/`; empty if nothing does.
        region: Folder.
        year: Folder.
        name: Of the file.
        n_bytes: Its size; 0 where the hub does not say.
    """

    folder: str
    region: str
    year: int
    name: str
    n_bytes: int

    @property
    def path(self) -> str:
        """In the repository."""
        return f"{self.folder}{self.region}/{self.year}/{self.name}"


def is_on_hub(reference: str | Path) -> bool:
    """True if a reference names a data set of the hub."""
    return str(reference).startswith("hf:")


def open_dataset(
    reference: str | Path,
    *,
    regions: Sequence[str] = (),
    years: Sequence[int] = (),
    reporter: Reporter,
    cache_dir: Path | None = None,
) -> ShardDataset:
    """The data set of a folder, or of the hub; of the latter, shards that are not in the cache are fetched first.

    Args:
        reference: Path of a folder, or `hf://datasets/...`.
        regions: Fetch only these (names or patterns); empty for all.
        years: Fetch only these; empty for all.
        reporter: Hears what is fetched, and that the hub could not be asked.
        cache_dir: The hub's cache; None takes the hub's own default.

    Returns:
        Every shard that is at hand, of the hub only those that are meant.

    Raises:
        InputError: If there is no such folder, or nothing in the data set is meant.
        DataError: If the hub does not have it, or lets us not have it, or cannot be reached and nothing is in the cache.
    """
    if not is_on_hub(reference):
        return ShardDataset(Path(reference))
    wanted = DatasetReference.parse(str(reference))
    asked = _Asked(wanted, tuple(regions), tuple(years))
    listing = list_shards(wanted)
    if listing is None:
        return _open_cached(asked, cache_dir, reporter)
    commit, shards = listing
    meant = [shard for shard in shards if asked.means(shard.region, shard.year)]
    if not meant:
        raise InputError(f"{asked.words} is not in {wanted}", f"there are {_words_of(shards) or 'no shards'}")
    folders = sorted({shard.folder for shard in meant})
    if len(folders) > 1:
        raise InputError(f"{wanted} holds several data sets: {', '.join(folders)}", "ask for regions of one of them")
    total = sum(shard.n_bytes for shard in meant)
    reporter.note(
        f"{wanted} at {commit[:8]}: {len(meant)} of {len(shards)} shards, {total / 1e9:.2f} GB, from the hub or its cache"
    )
    paths = []
    for number, shard in enumerate(meant):
        reporter.progress("shards from the hub", number, len(meant))
        paths.append(
            _fetch(HubReference(repo=wanted.repo, file=shard.path, revision=commit, kind="dataset"), cache_dir)
        )
    reporter.progress("shards from the hub", len(meant), len(meant))
    return ShardDataset(paths[0].parents[2], is_meant=asked.means)


def list_shards(wanted: DatasetReference) -> tuple[str, list[HubShard]] | None:
    """Commit and shards that the hub's listing names, sorted; None where the hub cannot be reached.

    Raises:
        DataError: If there is no such data set or revision, or no right to see it.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        with quiet_client():
            told = huggingface_hub.HfApi().dataset_info(wanted.repo, revision=wanted.revision, files_metadata=True)
    except errors.GatedRepoError as error:
        raise DataError(f"{wanted.repo} is gated", "accept its terms and log in to the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            f"no dataset repository {wanted.repo} on the hub, or no right to see it",
            "check the name; for a private one log in to the hub (`hf auth login`)",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataError(
            f"{wanted.repo} has no revision {wanted.revision}", "leave @REVISION out for its head"
        ) from error
    except Exception:  # the transport underneath has error types of its own that change with the hub's version
        return None
    if not told.sha or not _COMMIT.fullmatch(told.sha):
        raise DataError(f"the hub names no commit of {wanted}", "try again later")
    found = []
    for file in told.siblings or []:
        parts = _SHARD.fullmatch(file.rfilename)
        if parts is not None and ".." not in file.rfilename:
            found.append(
                HubShard(
                    folder=parts["folder"], region=parts["region"], year=int(parts["year"]), name=parts["name"],
                    n_bytes=int(file.size or 0),
                )
            )  # fmt: skip
    return told.sha, sorted(found)


def shards_in_cache(
    wanted: DatasetReference, commit: str, shards: Sequence[HubShard], cache_dir: Path | None = None
) -> set[HubShard]:
    """Those shards of a listing that are in the hub's cache already."""
    from huggingface_hub import try_to_load_from_cache

    return {
        shard
        for shard in shards
        if isinstance(
            try_to_load_from_cache(wanted.repo, shard.path, cache_dir=cache_dir, revision=commit, repo_type="dataset"),
            str,
        )
    }


@dataclass(frozen=True)
class _Asked:
    """What of a data set is meant: by its reference and by flags both."""

    wanted: DatasetReference
    regions: tuple[str, ...]
    years: tuple[int, ...]

    def means(self, region: str, year: int) -> bool:
        by_name = self.wanted.region is None or fnmatchcase(region, self.wanted.region)
        by_year = self.wanted.year is None or fnmatchcase(str(year), self.wanted.year)
        by_flags = not self.regions or any(fnmatchcase(region, one) for one in self.regions)
        return by_name and by_year and by_flags and (not self.years or year in self.years)

    @property
    def words(self) -> str:
        names = [*([self.wanted.region] if self.wanted.region else []), *self.regions] or ["any region"]
        times = [*([self.wanted.year] if self.wanted.year else []), *map(str, self.years)] or ["any year"]
        return f"{', '.join(names)} in {', '.join(times)}"


def _words_of(shards: Sequence[HubShard]) -> str:
    """Regions with their years."""
    regions: dict[str, set[int]] = {}
    for shard in shards:
        regions.setdefault(shard.region, set()).add(shard.year)
    return "; ".join(f"{region} {' '.join(map(str, sorted(years)))}" for region, years in sorted(regions.items()))


def _fetch(file: HubReference, cache_dir: Path | None) -> Path:
    """One file of a data set.

    Raises:
        DataError: If it cannot be had.
    """
    try:
        return fetch_from_hub(file, cache_dir)
    except ModelError as error:
        raise DataError(error.message, error.hint) from error


def _open_cached(asked: _Asked, cache_dir: Path | None, reporter: Reporter) -> ShardDataset:
    """What an earlier run left in the cache, where the hub cannot be asked what there should be.

    Raises:
        DataError: If nothing is there.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    wanted = asked.wanted
    home = Path(cache_dir or constants.HF_HUB_CACHE) / repo_folder_name(repo_id=wanted.repo, repo_type="dataset")
    revision = wanted.revision or "main"
    try:
        commit = (home / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    snapshots = [home / "snapshots" / commit] if _COMMIT.fullmatch(commit) else []
    if not snapshots and wanted.revision is None:
        snapshots = sorted((home / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)[-1:]
    for snapshot in snapshots:
        roots = sorted({path.parents[2] for path in snapshot.rglob("shard_*.parquet")})
        for root in roots:
            if any(asked.means(shard.region, shard.year) for shard in find_shards(root)):
                found = ShardDataset(root, is_meant=asked.means)
                reporter.warn(
                    f"the hub could not be asked about {wanted}: taken are the {len(found.shards)} shards in its cache, "
                    "which may be fewer than there are"
                )
                return found
    raise DataError(
        f"the hub could not be reached for {wanted}, and its cache holds no shard of {asked.words}",
        "without a network give a folder of shards that is on this machine",
    )
