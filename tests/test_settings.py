"""The one reader of settings: what each type takes, what it refuses, and how the refusal reads."""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from ml_collections import ConfigDict

from cnnvision.errors import ConfigError
from cnnvision.settings import Between, Share, as_section, checked, read


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Share = 0.5
    most: Annotated[int, Between(1, 64, "bins along each side")] = 7


@dataclasses.dataclass(frozen=True)
class Outer:
    pooling: Literal["align", "max"] = "align"
    sizes: tuple[tuple[Annotated[float, Between(1, 100)], ...], ...] = ((8.0,), (16.0,))
    pair: Annotated[tuple[float, float], Between(0, 16)] = (1.0, 1.0)
    limit: Annotated[int, Between(0, 9)] | None = None
    flip: bool = False
    name: str = ""
    inner: Inner = Inner()


def test_a_section_becomes_settings_and_back():
    section = ConfigDict({"pooling": "max", "sizes": ((1, 2), (3, 4)), "limit": 3, "inner": {"share": 1}})
    found = read(Outer, section, "config.model")
    assert found == Outer("max", ((1.0, 2.0), (3.0, 4.0)), (1.0, 1.0), 3, False, "", Inner(1.0, 7))
    assert type(found.inner.share) is float and type(found.sizes[0][0]) is float
    assert read(Outer, as_section(found), "config.model") == found
    assert read(Outer, found, "config.model") is found
    assert read(Outer, {"limit": None, "sizes": [[5]]}, "x").sizes == ((5.0,),)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"poling": "max"}, r"config\.model\.poling: there is no such key\. Did you mean 'pooling'\? Known: "),
        ({"pooling": "maxx"}, r"config\.model\.pooling: there is no 'maxx'\. Did you mean 'max'\? Known: align, max\."),
        ({"inner": {"shar": 1}}, r"config\.model\.inner\.shar: there is no such key\. Did you mean 'share'\?"),
        ({"inner": {"share": 1.5}}, r"config\.model\.inner\.share = 1\.5: must be a number in 0 … 1$"),
        ({"inner": {"share": float("nan")}}, r"share = nan: must be a number in 0 … 1"),
        ({"inner": {"share": True}}, r"share = True: must be a number"),
        ({"inner": {"most": 2.5}}, r"most = 2\.5: must be a whole number in 1 … 64, bins along each side$"),
        ({"inner": {"most": 2.0}}, r"most = 2\.0: must be a whole number"),
        ({"inner": {"most": True}}, r"most = True: must be a whole number"),
        ({"inner": {"most": "7"}}, r"most = '7': must be a whole number"),
        ({"inner": 3}, r"config\.model\.inner = 3: must be a section with keys share, most"),
        ({"sizes": (1, 2)}, r"config\.model\.sizes = 1: must be a tuple"),
        ({"sizes": ((0.5,),)}, r"config\.model\.sizes = 0\.5: must be a number in 1 … 100"),
        ({"pair": (1.0,)}, r"config\.model\.pair = \(1\.0,\): must be a tuple of 2"),
        ({"pair": (1.0, 17.0)}, r"config\.model\.pair = 17\.0: must be a number in 0 … 16"),
        ({"limit": 10}, r"config\.model\.limit = 10: must be a whole number in 0 … 9"),
        ({"flip": 1}, r"config\.model\.flip = 1: must be true or false"),
        ({"name": None}, r"config\.model\.name = None: must be a string"),
        ({"inner": {"share": np.float32(0.5)}}, r"must be a number"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(section, message):
    with pytest.raises(ConfigError, match=message):
        read(Outer, section, "config.model")


def test_a_module_that_takes_options_is_checked_alike():
    import flax.linen as nn

    class Net(nn.Module):
        width: Annotated[int, Between(1, 8)] = 4
        dtype: Any = "float32"

    without = ("parent", "name")
    assert checked(Net, {"width": 3, "dtype": "bfloat16"}, "config.model.backbone", without) == {
        "width": 3,
        "dtype": "bfloat16",
    }
    with pytest.raises(ConfigError, match=r"config\.model\.backbone\.width = 9: must be a whole number in 1 … 8"):
        checked(Net, {"width": 9}, "config.model.backbone", without)
    with pytest.raises(ConfigError, match=r"config\.model\.backbone\.name: there is no such key"):
        checked(Net, {"name": "x"}, "config.model.backbone", without)
