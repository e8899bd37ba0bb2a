"""A wheel holds commands and configs inside `cnnvision`, beside which they lie in a checkout."""

from setuptools import find_packages, setup

INSIDE = {"cnnvision.experiments": "experiments", "cnnvision.configs": "configs"}
"""Package in the wheel -> folder of the checkout."""

rooms = [f"cnnvision.{name}" for name in find_packages(include=["experiments.*"])]
TEMPLATES = {
    "cnnvision.experiments.launching": ["templates/*.sh", "templates/*/*"],
    "cnnvision.experiments.reports.page": ["templates/*"],
}
"""Package in the wheel -> its files that are no Python."""

setup(packages=[*find_packages(include=["cnnvision*"]), *INSIDE, *rooms], package_dir=INSIDE, package_data=TEMPLATES)
