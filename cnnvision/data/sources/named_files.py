"""Files that annotations name: where they lie, or why they cannot be found, each cause in words of its own.

A name that leaves the data set's folder is never opened, whichever way it does: an annotation may come from anywhere. A link
within the folder is followed as long as it stays there.
"""

import difflib
import functools
import os
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Sequence

from cnnvision.data.faults import Findings

_COMPARED = 50
"""From this number of problems on, missing files are no longer compared with those that are there."""
_MOST_NAMES = 200_000
"""Files of a data set that are looked through for one of the same name."""


class NotFoundError(ValueError):
    """A name that leads to no file that may be opened. Attributes: message; cure."""

    def __init__(self, message: str, cure: str):
        super().__init__(message, cure)

    @property
    def message(self) -> str:
        return self.args[0]

    @property
    def cure(self) -> str:
        return self.args[1]


def locate(name: str, folders: Sequence[pathlib.Path], root: pathlib.Path | None = None) -> str | None:
    """Finds a file that an annotation names, in the first of some folders that has it.

    Args:
        name: as the annotation has it; backslashes count as slashes.
        folders: where to look.
        root: the data set's folder, which links may not leave; by default each of `folders` its own.

    Returns:
        Its path, or None where no folder has it.

    Raises:
        NotFoundError: the name, or a link that it leads to, leaves the folder.
    """
    name = name.replace("\\", "/")
    if not name or "\0" in name:
        raise NotFoundError("the name lies outside the data set's folder: it is empty", "Name a file.")
    if os.path.isabs(name) or name[1:2] == ":":
        message = "the path is absolute, so it lies outside the data set's folder wherever that is, and is not opened"
        raise NotFoundError(message, "Write the path within the data set's folder.")
    if ".." in name.split("/"):
        message = "the path goes up by '..', outside the data set's folder, and is not opened"
        raise NotFoundError(message, "Write the path within the data set's folder.")
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            path = os.path.normpath(path)
            end = os.path.realpath(path)
            if not end.startswith(_real(str(root or folder)) + os.sep):
                message = f"is a link, which leads to {end}, outside the data set's folder, and is not opened"
                raise NotFoundError(message, "Copy the file there, or name a folder as the data set that holds both.")
            return path
        if os.path.islink(path):
            message = f"is a link, which leads to {os.readlink(path)}, where there is no file"
            raise NotFoundError(message, "Copy the file there, or make the link again.")
    return None


def find(name: str, folders: Sequence[pathlib.Path], root: pathlib.Path, what: str, findings: Findings) -> str:
    """As `locate`, but for a missing file, too, it says why, and which files have its name elsewhere.

    Args:
        name, folders, root: as of `locate`.
        what: where was looked, for the message.
        findings: the problems so far: of very many missing files only the first are looked for.

    Raises:
        NotFoundError: there is no such file, or none that may be opened.
    """
    try:
        path = locate(name, folders, root)
    except NotFoundError as error:
        raise NotFoundError(error.message, error.cure + namesakes(name, root, findings)) from None
    if path is None:
        expected = next((folder for folder in folders if folder.is_dir()), root)
        hint = namesakes(name, root, findings) or near_file(name, expected, findings) or near_file(name, root, findings)
        raise NotFoundError(f"there is no such file; looked in {what}", f"Add it, or delete the record.{hint}")
    return path


def near_file(name: str, folder: pathlib.Path, findings: Findings) -> str:
    """`` Did you mean 'x'?``, where the folder that a missing file should lie in has one with a similar name.

    Only for the first of many problems: comparing names takes milliseconds, and thousands of files may be missing.
    """
    if len(findings.problems) >= _COMPARED:
        return ""
    wanted = pathlib.PurePosixPath(name.replace("\\", "/"))
    close = difflib.get_close_matches(wanted.name, _names(folder / wanted.parent), n=1, cutoff=0.7)
    return f" Did you mean {(wanted.parent / close[0]).as_posix()!r}?" if close else ""


def namesakes(name: str, root: pathlib.Path, findings: Findings) -> str:
    """`` 'images/x.jpg' has this name.``, where the data set has files of this name in another folder, or in another
    spelling: letters of either case, %20 for a space, accents as letters of their own. Only for the first of many problems.
    """
    if len(findings.problems) >= _COMPARED:
        return ""
    found = _spelt(root).get(_spelling(name.replace("\\", "/").rsplit("/", 1)[-1]), [])
    if not found:
        return ""
    shown = " and ".join(map(repr, found[:2])) + (f" and {len(found) - 2} more" if len(found) > 2 else "")
    return f" {shown} {'has' if len(found) == 1 else 'have'} this name."


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", urllib.parse.unquote(name)).casefold()


@functools.lru_cache(maxsize=4)
def _spelt(root: pathlib.Path) -> dict[str, list[str]]:
    """Spelling of each file's own name -> paths within `root`."""
    found: dict[str, list[str]] = {}
    count = 0
    for top, folders, names in os.walk(root):
        folders[:] = sorted(folder for folder in folders if folder[0] != ".")
        for name in sorted(names):
            path = pathlib.Path(top, name).relative_to(root).as_posix()
            found.setdefault(_spelling(name), []).append(path)
        count += len(names)
        if count > _MOST_NAMES:
            break
    return found


@functools.lru_cache(maxsize=64)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


@functools.lru_cache(maxsize=64)
def _names(folder: pathlib.Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))[:2000]
    except (OSError, ValueError):
        return []
