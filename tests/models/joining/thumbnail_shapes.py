"""The thumbnail classifier on `shapes:single`: the config of a model that joins."""

from cnnvision.runs.defaults import Variant, base, section, smoke
from tests.models.joining.thumbnail import Settings


def get_config(variant: Variant = ""):
    """variant: "" or "smoke"."""
    config = base()
    config.model = section(Settings())
    config.data.source = "shapes:single"
    config.training.steps = 40
    if variant == "smoke":
        return smoke(config, hidden=8)
    return config
