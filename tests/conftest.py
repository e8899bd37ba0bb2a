"""The strictness under which all tests run; nothing here changes what the package computes."""

import os
import pathlib
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Tests run small programs once: most of their time would be the compiler's optimisation of them.
QUICK = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
if tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):  # fusions compile in half the time; 0.12 aborts at it
    QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICK])

from jaxtyping import install_import_hook

CHECKED = [f"cnnvision.{room}" for room in ("ops", "backbones", "necks", "heads", "models", "pretrained", "evaluation")]
install_import_hook(CHECKED, "beartype.beartype")

import jax
import pytest

FEW = {"train": 60, "val": 40}
ROOT = pathlib.Path(__file__).resolve().parent.parent

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def drawn_shapes(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of TFDS data sets in which both configs of `shapes` are prepared with few images."""
    from cnnvision.data import shapes

    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shapes, "SPLITS", FEW)
        for config in ("shapes", "single"):
            shapes.prepare(config, folder, progress=False)
    return folder


@pytest.fixture
def few_shapes(drawn_shapes: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Examples of each split of `shapes`, here and in processes that a test starts: so few that a run is short."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(drawn_shapes))
    return FEW


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning curves are not drawn: in small runs that are evaluated often they take half of the time."""
    monkeypatch.setattr("cnnvision.pictures.sheets.curves", lambda entries, path: None)


@pytest.fixture
def shared_data() -> pathlib.Path:
    """The folder of real data sets that may lie beside the checkout; tests that want it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data sets beside the checkout (shared/data)")
    return folder


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory):
    """A server that speaks as Google Cloud Storage does, for this process and those that it starts; the folder whose
    subfolders are its buckets. There is one, "bucket"."""
    from tests.storage_server import serve

    with serve(tmp_path_factory.mktemp("storage")) as folder:
        yield folder


@pytest.fixture
def bucket(storage: pathlib.Path, request: pytest.FixtureRequest) -> str:
    """gs://… of an empty folder in a bucket."""
    return f"gs://bucket/{request.node.name.replace('[', '_').replace(']', '')}"
