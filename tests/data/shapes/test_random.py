"""Random integers against a slow Philox, itself checked with the published test vector."""

import numpy as np

from cnnvision.data.shapes.random import Draws

MASK = 2**64 - 1


def philox(counter: list[int], key: tuple[int, int]) -> list[int]:
    """Philox 4×64 with ten rounds (Salmon et al. 2011, section 4.3), word by word."""
    a, b, c, d = counter
    left, right = key
    for _ in range(10):
        one, other = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (other >> 64) ^ b ^ left, other & MASK, (one >> 64) ^ d ^ right, one & MASK
        left, right = (left + 0x9E3779B97F4A7C15) & MASK, (right + 0xBB67AE8584CAA73B) & MASK
    return [a, b, c, d]


def test_slow_philox_gives_the_published_vector():
    """From the known-answer file of Random123, the authors' library (kat_vectors, philox4x64 10)."""
    expected = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox([0, 0, 0, 0], (0, 0)) == expected


def test_bytes_are_the_words_of_philox():
    words = [word for block in (1, 2, 3) for word in philox([block, 5, 6, 7], (11, 12))]
    expected = b"".join(word.to_bytes(8, "little") for word in words)
    assert Draws((11, 12), (5, 6, 7)).bytes(3, 32).tobytes() == expected


def test_integers_are_the_upper_bits_of_the_words():
    draws = Draws((11, 12), (5, 6, 7))
    words = philox([1, 5, 6, 7], (11, 12))
    assert [draws.integer(-3, 9) for _ in range(4)] == [-3 + (word >> 32) * 13 // 2**32 for word in words]


def test_integers_are_even_over_their_range_with_both_ends():
    draws = Draws((1, 2), (3, 4, 5))
    counts = np.bincount([draws.integer(0, 6) for _ in range(7000)], minlength=7)
    assert counts.sum() == 7000 and len(counts) == 7
    assert ((counts - 1000) ** 2 / 1000).sum() < 22.5  # chi-square, six degrees of freedom, p = 0.001
    assert {draws.integer(4, 4) for _ in range(9)} == {4}


def test_streams_differ():
    first = {Draws((1, key), (a, b, 0)).bytes(16).tobytes() for key in range(2) for a in range(3) for b in range(3)}
    assert len(first) == 18


def test_chance_and_choice():
    draws = Draws((1, 2), (3, 4, 5))
    assert not any(draws.chance(0) for _ in range(100)) and all(draws.chance(100) for _ in range(100))
    assert {draws.choice("abc") for _ in range(100)} == set("abc")
