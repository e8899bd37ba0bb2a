"""Maps whose classes are told by colours, and what headers tell of maps."""

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.decode import ColourCodedError, decode_colours, decode_map, has_16_bits, map_size
from cnnvision.data.faults import RecordError
from tests.data.planted import encoded, exif, picture, write

PICTURE = picture(3, 20, 30)
DEEP = Image.fromarray((PICTURE[:, :, 0] * 200).astype(np.uint16))
FLOATS = encoded(PICTURE[:, :, 0].astype(np.float32), "TIFF")
LONG = encoded(PICTURE[:, :, 0].astype(np.int32), "TIFF")


def test_colours_are_exact():
    indices = PICTURE[:, :, 0] % 3
    palette = Image.fromarray(indices, "L")
    table = np.array([[9, 8, 7], [20, 30, 40], [200, 210, 220]], np.uint8)
    palette.putpalette(table.ravel().tolist())
    grey = np.repeat(PICTURE[:, :, :1], 3, axis=2)
    for data, expected in [
        (encoded(PICTURE), PICTURE),
        (encoded(PICTURE, "TIFF"), PICTURE),
        (encoded(np.dstack([PICTURE, PICTURE[:, :, 0]])), PICTURE),
        (encoded(palette), table[indices]),
        (encoded(palette, transparency=1), table[indices]),
        (encoded(grey[:, :, 0]), grey),
        (encoded(PICTURE[:, :, 0] > 50), np.repeat(np.where(grey[:, :, :1] > 50, 255, 0), 3, axis=2)),
        (encoded(PICTURE, exif=exif(6)), np.rot90(PICTURE, -1)),
    ]:
        colours = decode_colours(data, "x.png")
        np.testing.assert_array_equal(colours, expected)
        assert colours.dtype == np.uint8


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(PICTURE, "JPEG"), "JPEG, which changes ids"),
        (FLOATS, "mode F"),
        (LONG, "mode I"),
        (encoded(Image.new("CMYK", (9, 9)), "TIFF"), "mode CMYK"),
        (b"", "0 bytes"),
        (b"<html>", "is text"),
    ],
)
def test_what_can_be_no_map(data, words):
    for read in (decode_map, decode_colours, map_size):
        with pytest.raises(RecordError, match=words) as caught:
            read(data, "x.png")
        assert caught.value.problem.effect == "left out" and caught.value.problem.file == "x.png"


def test_numbers_and_colours_are_told_apart():
    with pytest.raises(ColourCodedError, match="colour-coded"):
        decode_map(encoded(PICTURE), "x.png")
    with pytest.raises(RecordError, match="16 bits"):
        decode_colours(encoded(DEEP), "x.png")


def test_sizes_of_maps(tmp_path):
    path = write(tmp_path / "x.png", encoded(DEEP))
    assert map_size(path, "x.png") == map_size(encoded(PICTURE), "x.png") == (20, 30)
    assert map_size(encoded(PICTURE, exif=exif(5)), "x.png") == (30, 20)
    with pytest.raises(RecordError, match="does not exist"):
        map_size(tmp_path / "y.png", "y.png")


def test_whether_a_file_has_16_bits(tmp_path):
    assert has_16_bits(write(tmp_path / "a.png", encoded(DEEP))) and has_16_bits(
        write(tmp_path / "a.tif", encoded(DEEP, "TIFF"))
    )
    for data in (encoded(PICTURE), encoded(PICTURE[:, :, 0]), b"", b"text", FLOATS):
        assert not has_16_bits(write(tmp_path / "b.png", data))
    assert not has_16_bits(tmp_path / "none.png")
