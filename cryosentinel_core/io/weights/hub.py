"""Files of the Hugging Face hub: named, fetched once into the hub's own cache, and read from there ever after.

The hub's client keeps nothing of a download that was killed. Weights and shards are large and lines are thin, so here the bytes are
kept beside the cache's other blobs and the next run goes on after them; the SHA-256 that the hub names decides whether the file is
whole. All else (addresses, tokens, revisions, the cache's layout) is the client's. Neighbours: `model_files` reads the weights that
come back, `io.hub_datasets` finds the files of a data set.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from cryosentinel_core.errors import ModelError

HUB_PREFIX: Final = "hf://"
_ELSE: Final = (
    "without a network use --model FILE (a .ckpt or .safetensors), or --model water-index, which needs none; "
    "train takes --init none"
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class HubReference:
    """A file in a repository of the Hugging Face hub.

    Attributes:
        repo: `owner/name`.
        file: Path inside the repository, with `/`.
        revision: Branch, tag or commit; None for the default branch.
        kind: Of the repository.
    """

    repo: str
    file: str
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"

    @classmethod
    def parse(cls, reference: str) -> HubReference:
        """The parts of `hf://owner/repo/path/file.ckpt[@revision]`.

        Raises:
            ModelError: If it has another form, or a path that leaves its repository.
        """
        body = reference.removeprefix(HUB_PREFIX)
        path, at, revision = body.partition("@")
        parts = path.split("/")
        sound = len(parts) >= 3 and all(_NAME.fullmatch(part) and ".." not in part for part in parts)
        if not reference.startswith(HUB_PREFIX) or not sound or (at and not _is_revision(revision)):
            raise ModelError(
                f"cannot read the model reference {reference!r}",
                "wanted hf://owner/repo/path/file.ckpt, with @revision behind it if need be",
            )
        return cls(repo="/".join(parts[:2]), file="/".join(parts[2:]), revision=revision or None)

    def __str__(self) -> str:
        """Reference as it was given."""
        kind = "datasets/" if self.kind == "dataset" else ""
        return f"{HUB_PREFIX}{kind}{self.repo}/{self.file}{f'@{self.revision}' if self.revision else ''}"


def _is_revision(revision: str) -> bool:
    parts = PurePosixPath(revision).parts
    return bool(revision) and all(_NAME.fullmatch(part) and ".." not in part for part in parts) and revision[0] != "/"


def fetch_from_hub(wanted: HubReference, cache_dir: Path | None = None) -> Path:
    """The file in the hub's cache, downloaded if it is not there; a download that was cut off goes on where it stopped.

    Args:
        wanted: Which file.
        cache_dir: The hub's cache; None takes the hub's own default.

    Raises:
        ModelError: If the hub has no such file, does not let us have it, cannot be reached, or sends other bytes than it says.
    """
    from huggingface_hub import errors

    try:
        return _ask_client(wanted, cache_dir, offline=True)
    except errors.LocalEntryNotFoundError:
        pass
    try:
        with quiet_client():
            _fill_cache(wanted, cache_dir)
            return _ask_client(wanted, cache_dir, offline=False)
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{wanted.repo} is gated: {_first_line(error)}", "accept its terms and log in to the hub"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"no {wanted.kind} repository {wanted.repo} on the hub, or no right to see it",
            "check the name; for a private one log in to the hub (`hf auth login`)",
        ) from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        if not isinstance(error, errors.LocalEntryNotFoundError):
            raise ModelError(f"{wanted.repo} has no {wanted.file} at {wanted.revision or 'its head'}") from error
        raise ModelError(f"the hub could not be reached for {wanted}", _else(wanted)) from error
    except ModelError:
        raise
    except Exception as error:  # the transport underneath has error types of its own that change with the hub's version
        raise ModelError(
            f"{wanted} could not be downloaded: {_first_line(error)}",
            f"run again, and it goes on where it stopped; {_else(wanted)}",
        ) from error


def _else(wanted: HubReference) -> str:
    """Hint where the hub cannot be reached."""
    return _ELSE if wanted.kind == "model" else "without a network give a folder of shards that is on this machine"


@contextmanager
def quiet_client() -> Iterator[None]:
    """Within it the hub's client does not tell of each try: who asks says once what came of it."""
    from huggingface_hub.utils.logging import get_logger

    logger = get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _ask_client(wanted: HubReference, cache_dir: Path | None, *, offline: bool) -> Path:
    import huggingface_hub

    return Path(
        huggingface_hub.hf_hub_download(
            wanted.repo,
            wanted.file,
            repo_type=wanted.kind,
            revision=wanted.revision,
            cache_dir=cache_dir,
            local_files_only=offline,
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Blob:
    """A file's bytes as the hub describes them."""

    url: str
    sha256: str
    size: int


def _describe(wanted: HubReference) -> _Blob | None:
    """Description of a file by the hub; None where it cannot be asked or names no SHA-256: its client then says why."""
    import huggingface_hub

    url = huggingface_hub.hf_hub_url(wanted.repo, wanted.file, repo_type=wanted.kind, revision=wanted.revision)
    try:
        told = huggingface_hub.get_hf_file_metadata(url)
    except Exception:  # no network, no right, no such file: all of them the client's to tell apart
        return None
    if told.etag is None or told.size is None or not _SHA256.fullmatch(told.etag):
        return None
    return _Blob(url=url, sha256=told.etag, size=told.size)


def _fill_cache(wanted: HubReference, cache_dir: Path | None) -> None:
    """Put the file's bytes where the client looks for them before it downloads, if hub and client let us.

    Raises:
        ModelError: If the bytes are not those that the hub names.
    """
    from huggingface_hub import constants

    blob = _describe(wanted)
    if blob is None:
        return
    try:
        _complete(wanted, blob, Path(cache_dir or constants.HF_HUB_CACHE))
    except (ImportError, AttributeError, TypeError):  # parts of the client that it does not promise to keep, gone or
        return  # called otherwise by now: without them it downloads as it will


def _complete(wanted: HubReference, blob: _Blob, cache: Path) -> None:
    """Download what is missing of a file, under the client's own lock, and let it into the cache if it is whole."""
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    folder = repo_folder_name(repo_id=wanted.repo, repo_type=wanted.kind)
    target = cache / folder / "blobs" / blob.sha256
    lock = cache / ".locks" / folder / f"{blob.sha256}.lock"
    target.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if target.exists():
            return
        part = target.with_name(f"{blob.sha256}.kept.incomplete")
        for _ in range(2):  # what was kept may be damaged: then once more from the start
            _append(blob, part, PurePosixPath(wanted.file).name)
            if _sha256_of(part) == blob.sha256:
                os.replace(part, target)
                return
            part.unlink()
    raise ModelError(
        f"{wanted} arrived with other bytes than the hub names (its SHA-256 begins with {blob.sha256[:8]})",
        "try again, or from another network: something on the way changes the file",
    )


def _append(blob: _Blob, part: Path, label: str) -> None:
    """Download what is missing behind what is there; the token travels to the hub alone, not to where it redirects.

    The hub's address is asked anew, not the one that it redirected to before: such addresses expire.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    with part.open("ab") as file:
        if file.tell() > blob.size:
            file.truncate(0)
            file.seek(0)
        http_get(
            blob.url,
            file,
            resume_size=file.tell(),
            headers={**build_hf_headers(), "Accept-Encoding": "identity"},
            expected_size=blob.size,
            displayed_filename=label,
        )


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
