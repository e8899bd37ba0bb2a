"""Images without annotations: what `predict` reads."""

import glob
import pathlib

from cnnvision.data.decode import SUFFIXES, decode_image
from cnnvision.errors import DataError
from cnnvision.types import Example


class LooseImages:
    """A `Source` of image files of any size and kind, without classes or boxes.

    Args:
        images: a folder (searched with its subfolders for files that are named like images), one file, or a glob pattern.

    Attributes:
        files: the paths, in order of their ids.

    Raises:
        DataError: nothing was found.
    """

    name, split = "images", ""
    classes: tuple[str, ...] = ()
    semantic_classes: tuple[str, ...] = ()

    def __init__(self, images: str):
        path = pathlib.Path(images).expanduser()
        if path.is_dir():
            found = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
            what = f"no file below the folder {images} is named like an image ({', '.join(SUFFIXES)})"
        else:
            path = path.parent
            found = [pathlib.Path(file) for file in glob.glob(str(pathlib.Path(images).expanduser()), recursive=True)]
            found = [file for file in found if file.is_file()]
            what = f"{images} is no folder, no file, and no pattern that matches a file"
        if not found:
            raise DataError(f"--images: {what}")
        self.area_ranges, self.problems = {}, []
        self.files = tuple(sorted(found))
        inside = all(file.is_relative_to(path) for file in self.files)
        self.ids = tuple((file.relative_to(path) if inside else file).as_posix() for file in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, image: bool = True, masks: bool = False) -> Example:
        """The image (decoded also where only its size is asked for: a size that is said by a header may be wrong)."""
        file = self.files[index]
        try:
            pixels = decode_image(file.read_bytes(), self.ids[index])
        except OSError as error:
            raise DataError(f"{self.ids[index]}: cannot be read: {error.strerror}") from error
        return Example(self.ids[index], pixels.shape[:2], pixels if image else None)
