"""Sources around another source: a part of it, its images kept in memory, its images with proposals."""

from typing import Any

from cnnvision.types import Source


class Wrapped:
    """A `Source` around another: everything that a subclass does not say is that of the source within.

    Args:
        source: the source within.
    """

    def __init__(self, source: Source):
        self.source = source

    def __getattr__(self, name: str) -> Any:
        # While it is unpickled there is no source yet to ask.
        if name.startswith("__") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)
