"""Maps keep the numbers in their files, or are refused: grey of few bits, PGM of any range, lossy compression."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.decode import decode_colours, decode_image, decode_map, map_size
from cnnvision.data.faults import RecordError
from cnnvision.data.sources import open_source
from tests.data.planted import encoded, masks_set, picture, two_fields, write

GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6
IDS = np.arange(7 * 10).reshape(7, 10)


def raw_png(rows, bits, kind=GREY):
    """A PNG written by hand. Args: rows: [H, W] or [H, W, channels], samples of `bits` bits; kind: PNG's colour type."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    samples = np.asarray(rows)
    lines = samples.reshape(len(samples), -1)
    digits = (lines[:, :, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(len(lines), -1)
    packed = np.packbits(digits, axis=1)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line.tobytes() for line in packed))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def raw_pgm(rows, greatest, plain=False):
    """A PGM with the greatest value that its header declares; `plain`: written as text."""
    samples = np.asarray(rows)
    head = f"P{2 if plain else 5}\n{samples.shape[1]} {samples.shape[0]}\n{greatest}\n".encode()
    if plain:
        return head + b"\n".join(b" ".join(b"%d" % value for value in line) for line in samples.tolist()) + b"\n"
    return head + samples.astype(np.uint8 if greatest < 256 else ">u2").tobytes()


def raw_tiff(rows, bits, white_is_zero=False):
    """A little-endian grey TIFF of one strip."""
    samples = np.asarray(rows)
    digits = (samples[:, :, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(len(samples), -1)
    pixels = np.packbits(digits, axis=1).tobytes()
    height, width = samples.shape
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 122, 277: 1, 278: height}
    entries[279] = len(pixels)
    block = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries.items())
    data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + block + struct.pack("<I", 0)
    return data.ljust(122, b"\0") + pixels


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("make", [raw_png, raw_tiff])
def test_grey_of_few_bits_keeps_its_numbers(bits, make):
    ids = IDS % 2**bits
    data = make(ids, bits)
    values = decode_map(data, "x.png")
    np.testing.assert_array_equal(values, ids)
    assert values.dtype == np.uint8 and map_size(data, "x.png") == (7, 10)
    stretched = ids * (255 // (2**bits - 1))
    np.testing.assert_array_equal(decode_image(data, "x.png")[:, :, 0], stretched)
    np.testing.assert_array_equal(decode_colours(data, "x.png")[:, :, 1], stretched)


def test_other_bits_are_as_they_were():
    np.testing.assert_array_equal(decode_map(raw_png(IDS % 2, 1), "x.png"), IDS % 2 * 255)
    np.testing.assert_array_equal(decode_map(raw_png(IDS, 8), "x.png"), IDS)
    np.testing.assert_array_equal(decode_map(raw_png(IDS * 900, 16), "x.png"), IDS * 900)
    np.testing.assert_array_equal(decode_map(raw_tiff(IDS, 8), "x.tif"), IDS)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("greatest", [1, 2, 5, 15, 100, 127, 128, 254, 255, 256, 1000, 4095, 32768, 65534, 65535])
def test_a_pgm_keeps_its_numbers_whatever_its_range(greatest, plain):
    ids = np.unique(np.linspace(0, greatest, 4000).astype(int))[None] if greatest > 255 else np.arange(greatest + 1)[None]
    data = raw_pgm(ids, greatest, plain)
    values = decode_map(data, "x.pgm")
    np.testing.assert_array_equal(values, ids)
    assert values.dtype == (np.uint8 if greatest < 256 else np.uint16) and map_size(data, "x.pgm") == ids.shape


ALPHA = np.dstack([IDS * 900, np.full_like(IDS, 65535)])
DEEP = np.dstack([IDS * 900] * 3)
PPM = b"P6\n10 7\n15\n" + np.dstack([IDS % 16] * 3).astype(np.uint8).tobytes()


def animated():
    """A WEBP of two lossy frames, whose pixels lie one chunk deeper than elsewhere."""
    frames, stream = [Image.fromarray(picture(seed)) for seed in (1, 2)], io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], quality=80)
    assert b"ANMF" in stream.getvalue()
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (raw_png(DEEP, 16, COLOUR), "several channels of 16 bits"),
        (raw_png(np.dstack([DEEP, DEEP[:, :, 0]]), 16, COLOUR_ALPHA), "several channels of 16 bits"),
        (raw_png(ALPHA, 16, GREY_ALPHA), "several channels of 16 bits"),
        (PPM, "greatest value is 15"),
        (PPM.replace(b"15", b"65535", 1) + bytes(210), "greatest value is 65535"),
        (raw_tiff(IDS, 8, white_is_zero=True), "white as 0"),
        (raw_tiff(IDS % 16, 4, white_is_zero=True), "white as 0"),
        (encoded(two_fields(), "WEBP", quality=100), "WEBP of lossy compression"),
        (encoded(np.dstack([picture(1), picture(2)[:, :, :1]]), "WEBP", quality=90), "WEBP of lossy compression"),
        (encoded(picture(1), "WEBP", exif=Image.Exif().tobytes() + b"0", quality=90), "WEBP of lossy compression"),
        (animated(), "WEBP of lossy compression"),
        (encoded(two_fields(), "TIFF", compression="jpeg"), "TIFF of lossy compression"),
    ],
)
def test_what_loses_ids_is_refused(data, words, tmp_path):
    path = write(tmp_path / "x", data)
    for read in (decode_map, decode_colours, map_size, lambda _, file: map_size(path, file)):
        with pytest.raises(RecordError, match=words) as caught:
            read(data, "x.png")
        assert caught.value.problem.file == "x.png" and "PNG" in caught.value.problem.cure
    assert decode_image(data, "x.png").ndim == 3, "as a picture it is fine"


def test_lossless_webp_is_read(tmp_path):
    data = encoded(two_fields(left=3, right=9), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_map(data, "x.webp"), two_fields(left=3, right=9))
    assert map_size(write(tmp_path / "x.webp", data), "x.webp") == (30, 40)
    alpha = np.dstack([picture(1), np.full((30, 40), 200, np.uint8)])
    np.testing.assert_array_equal(decode_colours(encoded(alpha, "WEBP", lossless=True), "x.webp"), picture(1))


def test_a_data_set_of_such_maps(tmp_path):
    root = masks_set(tmp_path, left=0, right=3)
    write(root / "train" / "mask" / "0.png", raw_png(two_fields(left=0, right=3), 4))
    write(root / "train" / "mask" / "1.png", raw_pgm(two_fields(left=0, right=3), 3))
    (root / "train" / "mask" / "2.png").unlink()
    write(root / "train" / "mask" / "2.webp", encoded(two_fields(left=0, right=3), "WEBP"))
    source = open_source(f"masks:{root}", "train")
    assert source.semantic_classes == ("0", "3") and len(source) == 2
    for index in range(2):
        np.testing.assert_array_equal(source.read(index, masks=True).semantic, two_fields(left=0, right=1))
    assert [p.file for p in source.problems if p.effect == "left out"] == ["train/mask/2.webp"]
