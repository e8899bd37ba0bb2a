"""Files that are named by a path or a URL: what a notebook is given."""

import os
import pathlib
import urllib.error
import urllib.parse
import urllib.request

from cnnvision.errors import DataError


def local(name: str, folder: str = "downloads") -> str:
    """The path of a file: `name` itself, or, where it is a URL (http, https), the file downloaded from it, once.

    Args:
        name: a path or a URL.
        folder: where downloads are kept, under the last part of their URL. A part of a file is never taken for it.

    Raises:
        DataError: the URL cannot be read, or tells no name.
    """
    parts = urllib.parse.urlsplit(name)
    if parts.scheme not in ("http", "https"):
        return name
    file = pathlib.Path(folder) / pathlib.PurePosixPath(urllib.parse.unquote(parts.path)).name
    if file == pathlib.Path(folder):
        raise DataError(f"{name}: the URL ends in no file name. Download the file by hand, and give its path.")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
        try:
            urllib.request.urlretrieve(name, draft)
        except (urllib.error.URLError, OSError) as error:
            draft.unlink(missing_ok=True)
            why = getattr(error, "reason", error)
            raise DataError(f"{name}: cannot be read ({why}). Download the file by hand, and give its path.") from error
        draft.replace(file)
    return str(file)
