"""cnnvision: the classic CNN vision systems, composed of the same parts, in JAX and Flax."""

__version__ = "0.1.0"
