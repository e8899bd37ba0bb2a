"""The decoder: every form of image leaves as upright RGB, or as an error that names the file."""

import concurrent.futures
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from cnnvision.data.decode import decode_image, decode_map, image_size, is_plain
from cnnvision.data.faults import RecordError
from tests.data.planted import encoded, exif, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's words about the damage that is meant here

PICTURE = picture(1)
FORMS = {
    "JPEG": {},
    "progressive": {"form": "JPEG", "progressive": True},
    "PNG": {},
    "BMP": {},
    "GIF": {},
    "TIFF": {},
    "LZW": {"form": "TIFF", "compression": "tiff_lzw"},
    "WEBP": {},
    "PPM": {},
}


def in_form(name: str) -> bytes:
    return encoded(PICTURE, **{"form": name, **FORMS[name]})


def test_png_comes_back_bit_for_bit():
    decoded = decode_image(encoded(PICTURE), "x.png")
    np.testing.assert_array_equal(decoded, PICTURE)
    assert decoded.dtype == np.uint8 and decoded.flags.writeable and decoded.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_applied(form, orientation):
    options = {"lossless": True} if form == "WEBP" else {}
    if form == "TIFF":
        data = encoded(PICTURE, form, tiffinfo={0x0112: orientation})
    else:
        data = encoded(PICTURE, form, exif=exif(orientation), **options)
    stored = Image.fromarray(np.asarray(Image.open(io.BytesIO(encoded(PICTURE, form, **options)))))
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(decode_image(data, "x"), expected)
    assert image_size(data, "x") == expected.shape[:2]


def test_orientation_6_by_hand():
    # The camera was turned: the first stored column, read upwards, is the first row of the picture.
    stored = np.array([[[1], [2], [3]], [[4], [5], [6]]], np.uint8).repeat(3, axis=2)
    upright = decode_image(encoded(stored, exif=exif(6)), "x.png")
    np.testing.assert_array_equal(upright[:, :, 0], [[4, 1], [5, 2], [6, 3]])


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense" * 9, exif(9), exif(0)]
)
def test_damaged_or_senseless_exif_counts_as_none(block):
    data = encoded(PICTURE, "PNG", exif=block)
    np.testing.assert_array_equal(decode_image(data, "x.png"), PICTURE)
    assert image_size(data, "x.png") == (30, 40)


def test_jpeg_agrees_with_opencv_within_rounding():
    data = encoded(PICTURE, "JPEG", quality=95)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decode_image(data, "x.jpg").astype(int) - other).max() <= 3


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3)])
def test_16_bits_keep_their_upper_8(shape):
    values = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    data = cv2.imencode(".png", values)[1].tobytes()
    expected = (values >> 8).astype(np.uint8)
    expected = expected[:, :, None].repeat(3, axis=2) if len(shape) == 2 else expected[:, :, ::-1]  # OpenCV writes BGR
    np.testing.assert_array_equal(decode_image(data, "x.png"), expected)
    assert image_size(data, "x.png") == (30, 40)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_tiff(order):
    values = np.arange(0, 65536, 55, np.uint16)[:1190].reshape(34, 35)
    image = Image.frombytes("I;16" if order == "<u2" else "I;16B", (35, 34), values.astype(order).tobytes())
    np.testing.assert_array_equal(decode_image(encoded(image, "TIFF"), "x.tif")[:, :, 1], values >> 8)


def test_16_bits_are_turned_upright_too():
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) << 8
    data = encoded(Image.fromarray(values), "PNG", exif=exif(6))
    np.testing.assert_array_equal(decode_image(data, "x.png")[:, :, 0], [[3, 0], [4, 1], [5, 2]])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_fixed_range_are_refused(mode):
    data = encoded(Image.fromarray(np.ones((4, 5))).convert(mode), "TIFF")
    with pytest.raises(RecordError, match=r"x\.tif: .*32-bit.*8 bits"):
        decode_image(data, "x.tif")


@pytest.mark.parametrize(
    ("ink", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 100, 155), (100, 100, 61)),  # 255 - 155 = 100 remains; of blue 100 * (255 - 100) / 255
    ],
)
def test_cmyk_jpeg(ink, colour):
    data = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
    decoded = decode_image(data, "x.jpg")
    assert np.abs(decoded.astype(int) - colour).max() <= 3
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decoded.astype(int) - other).max() <= 6


def test_ycck_jpeg():
    # The same samples, declared to be luminance, two differences and black (Adobe's transform 2). Adobe stores inverted
    # inks: the file's samples are 255 - ink.
    ink = (60, 140, 120, 30)
    data = bytearray(encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100))
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    data[marker + 11] = 2
    luma, blue, red, black = (255 - value for value in ink)
    light = np.array(
        [luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128), luma + 1.772 * (blue - 128)]
    ).clip(0, 255)
    expected = (255 - light) * black / 255  # libjpeg gives inks as 255 - RGB; Adobe's inversion makes them light again
    assert np.abs(decode_image(bytes(data), "x.jpg") - expected).max() <= 3


def test_grey_alpha_palette_and_single_bits():
    grey = PICTURE[:, :, 0]
    np.testing.assert_array_equal(decode_image(encoded(grey), "x"), grey[:, :, None].repeat(3, axis=2))
    alpha = np.linspace(0, 255, grey.size).astype(np.uint8).reshape(grey.shape)
    np.testing.assert_array_equal(decode_image(encoded(np.dstack([PICTURE, alpha])), "x"), PICTURE)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(np.dstack([grey, alpha]))), "x")[:, :, 2], grey)
    palette = Image.fromarray((PICTURE[:, :, 0] % 4).astype(np.uint8), "L")
    palette.putpalette([9, 8, 7, 20, 30, 40, 200, 210, 220, 1, 2, 3])
    colours = np.array([[9, 8, 7], [20, 30, 40], [200, 210, 220], [1, 2, 3]])
    for options in ({}, {"transparency": bytes([0, 255, 100, 255])}, {"transparency": 2}):
        np.testing.assert_array_equal(decode_image(encoded(palette, **options), "x"), colours[grey % 4])
    bits = Image.fromarray(grey > 100)
    np.testing.assert_array_equal(decode_image(encoded(bits), "x")[:, :, 0], np.where(grey > 100, 255, 0))


def test_the_first_frame_of_several():
    frames = [Image.fromarray(picture(seed)[:, :, 0]) for seed in (1, 2)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(data, "x.gif")[:, :, 0], picture(1)[:, :, 0])


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_breaks_off_is_an_error_at_every_length(form):
    data = in_form(form)
    whole = decode_image(data, "x")
    failed = 0
    for length in range(len(data)):
        try:
            decoded = decode_image(data[:length], "broken/x")
        except RecordError as error:
            failed += 1
            assert error.problem.file == "broken/x" and error.problem.effect == "left out" and error.problem.cure
        else:  # what is missing is beyond the pixels, a checksum at the end for example
            np.testing.assert_array_equal(decoded, whole)
    assert failed >= len(data) - 30


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_raise_nothing_else(form):
    rng = np.random.default_rng(len(form))
    for _ in range(60):
        data = bytearray(in_form(form))
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(min(len(data), 400))] = rng.integers(256)
        for read in (decode_image, decode_map, image_size, is_plain):
            try:
                read(bytes(data), "x")
            except RecordError as error:
                assert error.problem.file == "x"


def test_random_bytes_raise_nothing_else():
    rng = np.random.default_rng(0)
    starts = ("", "ffd8ffe0", "89504e470d0a1a0a", "424d", "474946383961", "49492a00", "52494646000000005745425056503820")
    for head in (*map(bytes.fromhex, starts), b"P6\n99 99\n255\n"):
        for length in (0, 1, 50, 500):
            data = head + rng.integers(0, 256, length, np.uint8).tobytes()
            for read in (decode_image, decode_map):
                with pytest.raises(RecordError):
                    read(data, "x")
            try:  # a head alone may be sound
                image_size(data, "x")
            except RecordError as error:
                assert error.problem.file == "x"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<html>404 not found</html>", "is text, no image: it begins '<html>404"),
        ("Fran\xe7ois".encode() * 9, "is text"),
        (b"\0\0\0\x18ftypheic\0\0\0\0heic", "HEIC or AVIF"),
        (bytes(range(256)), "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is text"),
    ],
)
def test_what_is_no_image_is_named(data, message, tmp_path):
    for read in (decode_image, decode_map, image_size):
        with pytest.raises(RecordError, match=message) as caught:
            read(data, "folder/x.jpg")
        assert str(caught.value).startswith("folder/x.jpg: ")
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(RecordError, match=message):
        image_size(path, "folder/x.jpg")


def test_a_picture_that_unfolds_to_too_much_is_refused():
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    for read in (decode_image, image_size):
        with pytest.raises(RecordError, match=r"big\.png: .*too many pixels.*tiles"):
            read(data, "big.png")


def test_size_of_a_path(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(PICTURE, "JPEG", exif=exif(8)))
    assert image_size(path, "x.jpg") == image_size(str(path), "x.jpg") == (40, 30)
    with pytest.raises(RecordError, match="does not exist"):
        image_size(tmp_path / "y.jpg", "y.jpg")
    with pytest.raises(RecordError, match="cannot be read"):
        image_size(tmp_path, "folder")


def test_maps_keep_their_numbers():
    ids = (PICTURE[:, :, 0] % 7).astype(np.uint8)
    palette = Image.fromarray(ids, "L")
    palette.putpalette([9, 8, 7, 20, 30, 40] * 20)
    wide = ids.astype(np.uint16) * 1000
    for data, expected in [
        (encoded(ids), ids),
        (encoded(ids, "TIFF"), ids),
        (encoded(palette), ids),
        (encoded(ids[:, :, None].repeat(3, axis=2)), ids),
        (encoded(np.dstack([ids, ids, ids, 255 - ids])), ids),
        (encoded(Image.fromarray(np.dstack([ids, 255 - ids]))), ids),
        (encoded(Image.fromarray(ids > 3)), np.where(ids > 3, 255, 0).astype(np.uint8)),
        (encoded(Image.fromarray(wide)), wide),
        (encoded(ids, exif=exif(6)), np.rot90(ids, -1)),
    ]:
        decoded = decode_map(data, "x.png")
        np.testing.assert_array_equal(decoded, expected)
        assert decoded.dtype == expected.dtype


def test_maps_that_hold_no_numbers_are_refused():
    with pytest.raises(RecordError, match=r"JPEG, which changes ids.*PNG"):
        decode_map(encoded(PICTURE[:, :, 0], "JPEG"), "x.jpg")
    with pytest.raises(RecordError, match="colour-coded"):
        decode_map(encoded(PICTURE), "x.png")


def test_plain_is_what_every_reader_sees_alike():
    assert is_plain(encoded(PICTURE, "JPEG"), "x") and is_plain(encoded(PICTURE), "x")
    assert is_plain(encoded(PICTURE[:, :, 0], "JPEG"), "x")
    assert not is_plain(encoded(PICTURE, "JPEG", exif=exif(3)), "x")
    assert not is_plain(encoded(Image.new("CMYK", (9, 9)), "JPEG"), "x")
    assert not is_plain(encoded(np.dstack([PICTURE, PICTURE[:, :, :1]])), "x")
    assert not is_plain(encoded(PICTURE, "TIFF"), "x")


def test_many_threads_decode_alike():
    data = in_form("JPEG")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda _: decode_image(data, "x"), range(64)))
    assert all((other == decoded[0]).all() for other in decoded)
