"""Folders and files, here and in buckets of Google Cloud Storage (gs://BUCKET/…).

A run folder may lie in a bucket: what is written there is written whole, so that nobody reads half of a file. Data and
weights that lie in one are copied to this machine once, and compared with the bucket at each start: pictures that are read
in random order, one by one, would keep an accelerator waiting for the network.
"""

import contextlib
import datetime
import functools
import os
import pathlib
import shutil
import threading
from collections.abc import Iterator
from typing import Any

from etils import epath

from cnnvision.errors import DataError, RunError

SCHEME = "gs://"
TOGETHER = 128
"""Files that are copied at the same time."""

RIGHTS = (
    "Log in (`gcloud auth application-default login`), or give the machine's service account the role Storage Object Admin "
    "on the bucket."
)


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is one of a bucket. Raises RunError for other schemes than gs://."""
    text = os.fspath(path)
    if "://" in text and not text.startswith(SCHEME):
        raise RunError(f"{text}: of the paths with a scheme, those of Google Cloud Storage alone are known: gs://BUCKET/…")
    return text.startswith(SCHEME)


def path_of(path: epath.PathLike) -> epath.Path:
    """What a user named, here or in a bucket. Raises RunError where it cannot be used: see `is_remote`, `file_system`."""
    if is_remote(path):
        file_system()
        return epath.Path(path)
    return epath.Path(path).expanduser()


def absolute(path: epath.Path) -> epath.Path:
    """The same, from the root; a path of a bucket is."""
    return path if is_remote(path) else path.absolute()


@functools.cache
def file_system() -> Any:
    """The file system of gs:// paths. Raises RunError where the package for it is not installed."""
    try:
        import fsspec
        import gcsfs  # noqa: F401
    except ImportError as error:
        raise RunError("gs:// paths need gcsfs: pip install 'cnnvision[gcs]'") from error
    # Listings are kept by default: a process would not see what another one wrote.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return fsspec.filesystem("gcs", finalize_on_close=True)


def explain(error: BaseException) -> str | None:
    """What an error of the file system says, in a line; None for an error of another kind."""
    if type(error).__module__.startswith(("gcsfs.", "google.auth.", "google.api_core.", "aiohttp.")):
        code = str(getattr(error, "code", ""))
        cure = f" {RIGHTS}" if code in ("401", "403") or "redentials" in type(error).__name__ else ""
        return f"Google Cloud Storage: {str(error).splitlines()[0] if str(error) else type(error).__name__}.{cure}"
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # gcsfs's; the right is in its next line
        return f"Google Cloud Storage: {str(error).splitlines()[-1]} {RIGHTS}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).splitlines()[0] if isinstance(error, OSError) and str(error) else None


def check_writable(folder: epath.PathLike) -> None:
    """Writes and deletes a small file in a folder of a bucket; does nothing for a folder of this machine.

    Raises:
        RunError: there is no such bucket, it cannot be reached, or may not be written.
    """
    if not is_remote(folder):
        return
    probe = path_of(folder) / f".writable_{os.getpid()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except Exception as error:
        bucket = os.fspath(folder).removeprefix(SCHEME).split("/")[0]
        if isinstance(error, FileNotFoundError):
            why = f"there is no bucket {bucket!r}. `gcloud storage buckets create gs://{bucket} --location=REGION` makes it."
        else:
            why = explain(error)
        if why is None:
            raise
        raise RunError(f"{folder} cannot be written: {why}") from error


def write_whole(path: epath.PathLike, content: bytes | str) -> None:
    """Writes a file, and its folder where there is none; whoever reads meanwhile sees all of the old one or of the new."""
    path, content = path_of(path), content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_remote(path):
        path.write_bytes(content)  # an object of a bucket is there once it is whole
        return
    draft = path.parent / f"{path.name}.{os.getpid()}.{threading.get_ident()}.draft"
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def local_copy(path: epath.PathLike) -> str:
    """The path of a file, a folder or a pattern on this machine: `path` itself, or a copy of what lies in the bucket.

    Copies are kept below $CNNVISION_COPIES (~/.cache/cnnvision/copies), by bucket and name. Files that have the bucket's
    size and time are not copied again; what is in the bucket no more is deleted. A copy that was broken off goes on.
    Processes of one machine copy one after the other.

    Raises:
        DataError: nothing is there, it cannot be read, or there is no room for it.
    """
    return _copied(os.fspath(path).rstrip("/")) if is_remote(path) else os.fspath(path)


@functools.cache
def _copied(path: str) -> str:
    import fcntl  # not on Windows, where all else works

    system, home = file_system(), os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    root = pathlib.Path(os.environ.get("CNNVISION_COPIES") or os.path.join(home, "cnnvision", "copies"))
    name = path.removeprefix(SCHEME)
    pattern = any(letter in name for letter in "*?[")
    with _as_data_error(path):
        found = system.glob(name, detail=True) if pattern else system.find(name, detail=True)
    objects = {key: info for key, info in found.items() if info["type"] == "file" and not key.endswith("/")}
    for key in objects:
        if ".." in key.split("/"):
            raise DataError(f"{path}: the name gs://{key} leaves its folder. Rename it in the bucket.")
    if not objects:
        raise DataError(f"{path}: there is nothing of that name in the bucket.")
    root.mkdir(parents=True, exist_ok=True)
    with open(root / f"{name.split('/')[0]}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = {key: info for key, info in objects.items() if not _is_there(root / key, info)}
        size = sum(info["size"] for info in missing.values())
        free = shutil.disk_usage(root).free
        if size > free:
            raise DataError(
                f"{path}: its copy needs {size / 1e9:.2f} GB more, and {root} has {free / 1e9:.2f} GB free. Make room, let "
                "CNNVISION_COPIES name a folder on a larger disk, or mount the bucket with gcsfuse and give its path there."
            )
        if missing:
            print(f"{path}: {len(missing):,} of {len(objects):,} files ({size / 1e6:,.1f} MB) are copied to {root / name}")
        with _as_data_error(path):
            _copy(system, root, missing)
        if not pattern:
            for file in (root / name).rglob("*"):
                if file.is_file() and file.relative_to(root).as_posix() not in objects:
                    file.unlink()
    return str(root / name)


def _copy(system: Any, root: pathlib.Path, objects: dict[str, Any]) -> None:
    """Copies objects, several at a time, each under its own name once it is whole."""
    names = list(objects)
    for start in range(0, len(names), TOGETHER):
        some = names[start : start + TOGETHER]
        drafts = [root / f"{key}.draft" for key in some]
        for draft in drafts:
            draft.parent.mkdir(parents=True, exist_ok=True)
        system.get([f"{SCHEME}{key}" for key in some], [str(draft) for draft in drafts])
        for key, draft in zip(some, drafts, strict=True):
            time = _time(objects[key])
            os.utime(draft, (time, time))
            draft.replace(root / key)


def _is_there(file: pathlib.Path, info: dict[str, Any]) -> bool:
    if not file.is_file():
        return False
    found = file.stat()
    return found.st_size == info["size"] and abs(found.st_mtime - _time(info)) < 1e-3


def _time(info: dict[str, Any]) -> float:
    """When an object was written, in seconds."""
    return datetime.datetime.fromisoformat(info["updated"].replace("Z", "+00:00")).timestamp()


@contextlib.contextmanager
def _as_data_error(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        why = "there is no such bucket, or nothing of that name" if isinstance(error, FileNotFoundError) else explain(error)
        if why is None:
            raise
        raise DataError(f"{path} cannot be read: {why}") from error
