"""What the stages command refuses before anything is computed. (That it draws is shown by colab/mask_rcnn.ipynb.)"""

import pytest

from cnnvision.errors import ConfigError, DataError, RunError
from experiments import stages
from tests.data.planted import encoded, picture, write


def test_what_it_cannot_use(tmp_path):
    write(tmp_path / "a.png", encoded(picture(0)))
    image = str(tmp_path / "a.png")
    for error, words, values in [
        (DataError, r"--image: .*b\.png is no file", {"image": str(tmp_path / "b.png")}),
        (DataError, "--image: .* is no file; name one photograph", {"image": str(tmp_path)}),
        (RunError, r"--output: .*a\.png is a file; name a folder", {"output": image}),
        (ConfigError, r"--threshold = 7: must be from 0 to 1", {"threshold": 7}),
    ]:
        with pytest.raises(error, match=words):
            stages.run(**{"workdir": None, "image": image, "output": str(tmp_path / "out"), **values})
