"""A wheel holds commands and configs inside `cnnvision`, beside which they lie in a checkout."""

from setuptools import find_packages, setup

INSIDE = {"cnnvision.experiments": "experiments", "cnnvision.configs": "configs"}
"""Package in the wheel -> folder of the checkout."""

reports = [f"cnnvision.{name}" for name in find_packages(include=["experiments.*"])]
setup(packages=[*find_packages(include=["cnnvision*"]), *INSIDE, *reports], package_dir=INSIDE)
