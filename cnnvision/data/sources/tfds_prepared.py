"""Where prepared TFDS data sets lie on disk, and which command prepares those that are not there.

Reading needs no TensorFlow, preparing most published data sets does; so that happens in an environment of its own, by the
printed commands.
"""

import os
import re

from etils import epath

from cnnvision.errors import DataError, nearest
from cnnvision.storage import local_copy, path_of

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[^/:]+))?(:(?P<version>\d+\.\d+\.\d+))?")


def data_dir() -> epath.Path:
    """TFDS's folder of prepared data sets: the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return path_of(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))


def find(reference: str) -> epath.Path:
    """The folder of a prepared data set; of one in a bucket, that of its copy on this machine.

    Args:
        reference: NAME[/CONFIG][:VERSION]; without a version the newest, without a config the only one.

    Raises:
        DataError: no such data set is prepared. The message names the nearest, or has the commands that prepare it.
    """
    match = _NAME.fullmatch(reference)
    if not match:
        raise DataError(f"tfds:{reference} should read tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:1.0.0.")
    name, config, version = match["name"], match["config"], match["version"]
    root = data_dir() / name
    if not root.is_dir():
        raise _not_prepared(name, reference)
    configs = [p.name for p in _folders(root) if not _VERSION.fullmatch(p.name) and _versions(p)]
    if config:
        if config not in configs:
            hint = nearest(config, configs) if configs else ""
            raise DataError(
                f"tfds:{reference}: {root} has no prepared config {config!r}.{hint}\n{_build_commands(reference)}"
            )
    elif not _versions(root) and len(configs) != 1:
        if not configs:
            raise _not_prepared(name, reference)
        raise DataError(
            f"tfds:{reference} has several configs: write one of {', '.join(f'tfds:{name}/{c}' for c in configs)}."
        )
    base = root / config if config else root if _versions(root) else root / configs[0]
    versions = _versions(base)
    if version and version not in versions:
        raise DataError(f"tfds:{reference}: {base} has no version {version}.{nearest(version, versions)}")
    return epath.Path(local_copy(base / (version or versions[-1])))


def conversion_commands(folder: epath.Path) -> str:
    """The commands that add array_record files to a data set that was prepared in another format."""
    return (
        "Convert it in an environment of its own, which has TensorFlow:\n"
        "  python -m venv tfds-environment\n"
        "  tfds-environment/bin/pip install tensorflow tensorflow-datasets array-record apache-beam\n"
        f"  tfds-environment/bin/tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
    )


def _build_commands(reference: str) -> str:
    by_hand = " (its archives must be downloaded by hand first: see --manual_dir)" if "imagenet2012" in reference else ""
    return (
        f"Prepare it in an environment of its own, which has TensorFlow{by_hand}:\n"
        "  python -m venv tfds-environment\n"
        "  tfds-environment/bin/pip install tensorflow tensorflow-datasets array-record\n"
        f"  tfds-environment/bin/tfds build {reference} --file_format=array_record --data_dir={data_dir()}"
    )


def _not_prepared(name: str, reference: str) -> DataError:
    import tensorflow_datasets as tfds  # a second to import; csv: and its kind need none of it

    published = tfds.list_builders(with_community_datasets=False)
    if name in published:
        return DataError(f"tfds:{reference} is not prepared in {data_dir()}.\n{_build_commands(reference)}")
    prepared = [p.name for p in _folders(data_dir()) if not p.name.startswith(("downloads", "."))]
    near = nearest(name, prepared).split(" Known:")[0] or nearest(name, published).split(" Known:")[0]
    there = f"Prepared in {data_dir()}: {', '.join(prepared) or 'nothing'}."
    return DataError(f"tfds:{reference}: TFDS has no data set {name!r}.{near} {there}")


def _folders(folder: epath.Path) -> list[epath.Path]:
    return sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.name) if folder.is_dir() else []


def _versions(folder: epath.Path) -> list[str]:
    """Prepared versions, oldest first. What a killed preparation left has another name."""
    names = [p.name for p in _folders(folder) if _VERSION.fullmatch(p.name) and (p / "dataset_info.json").exists()]
    return sorted(names, key=lambda name: tuple(map(int, name.split("."))))
