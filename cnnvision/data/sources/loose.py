"""Images without annotations: what `predict` reads."""

import glob
import os
import pathlib

from cnnvision.data.decode import SUFFIXES, decode_image
from cnnvision.data.sources.folders import ignored
from cnnvision.errors import DataError
from cnnvision.storage import is_remote, local_copy
from cnnvision.types import Example, Masks


class LooseImages:
    """A `Source` of image files of any size and kind, without classes or boxes.

    Args:
        images: a folder (searched with its subfolders for files that are named like images and not hidden), one file, or a
            glob pattern, here or in a bucket.
        without: a folder whose files are left out, or None.

    Attributes:
        files: the paths, in order of their ids.
        skipped: the files of the folder that are not named like images.
        ids: the paths below the folder that holds all of them.

    Raises:
        DataError: nothing was found.
    """

    name, split = "images", ""
    classes: tuple[str, ...] = ()
    semantic_classes: tuple[str, ...] = ()

    def __init__(self, images: str, without: os.PathLike | None = None):
        images, skipped = local_copy(images), []
        # Not resolved: a link to an image has the name that its owner gave it.
        path = pathlib.Path(os.path.abspath(pathlib.Path(images).expanduser()))
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.name[0] != "." and not ignored(file.name)]
            found = [file for file in files if file.suffix.lower() in SUFFIXES]
            skipped = [file for file in files if file.suffix.lower() not in SUFFIXES]
            what = f"no file below the folder {images} is named like an image ({', '.join(SUFFIXES)})"
        else:
            found = [path] if path.is_file() else [pathlib.Path(file) for file in glob.glob(str(path), recursive=True)]
            what = f"{images} is no folder, no file, and no pattern that matches a file"
        own = None if without is None or is_remote(without) else os.path.abspath(without)
        found, skipped = (
            [file for file in files if file.is_file() and not (own and file.is_relative_to(own))]
            for files in (found, skipped)
        )
        if not found:
            raise DataError(f"--images: {what}")
        self.area_ranges, self.problems = {}, []
        self.skipped = tuple(sorted(skipped))
        self.files = tuple(sorted(found))
        root = path if path.is_dir() else os.path.commonpath([file.parent for file in self.files])
        self.ids = tuple(file.relative_to(root).as_posix() for file in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """The image (decoded also where only its size is asked for: a size that is said by a header may be wrong)."""
        file = self.files[index]
        try:
            pixels = decode_image(file.read_bytes(), self.ids[index])
        except OSError as error:
            raise DataError(f"{self.ids[index]}: cannot be read: {error.strerror}") from error
        return Example(self.ids[index], pixels.shape[:2], pixels if image else None)
