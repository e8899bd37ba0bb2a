"""runs/downloads.py: a path stays what it is, a URL becomes a file, whole or not at all."""

import functools
import http.server
import threading

import pytest

from cnnvision.errors import DataError
from cnnvision.runs.downloads import local


@pytest.fixture
def address(tmp_path):
    """A server of the files in a folder, on this machine."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "weights 1.pth").write_bytes(b"1234")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_path_is_itself():
    assert local("a/b.pth") == "a/b.pth" and local("") == ""


def test_a_url_is_downloaded_once(address, tmp_path):
    folder = tmp_path / "kept"
    file = local(f"{address}/weights%201.pth?download=1", str(folder))
    assert file == str(folder / "weights 1.pth") and (folder / "weights 1.pth").read_bytes() == b"1234"
    (folder / "weights 1.pth").write_bytes(b"mine")
    assert local(f"{address}/weights%201.pth", str(folder)) == file
    assert (folder / "weights 1.pth").read_bytes() == b"mine"
    assert [path.name for path in folder.iterdir()] == ["weights 1.pth"]


def test_what_cannot_be_read(address, tmp_path):
    with pytest.raises(DataError, match=r"none\.pth: cannot be read .*not found.*give its path"):
        local(f"{address}/none.pth", str(tmp_path / "kept"))
    with pytest.raises(DataError, match="ends in no file name"):
        local(f"{address}/", str(tmp_path / "kept"))
    assert not list((tmp_path / "kept").iterdir())
