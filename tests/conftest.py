"""Fixtures that several test files share, and ``--device cuda``, which runs them on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import jaxtyping
import outermost  # noqa: F401 (before vaelib: which of its shapes are checked)
import pooch
import pytest
import torch
from torch.overrides import TorchFunctionMode

import vaelib
from vaelib import data
from vaelib.latent import LinearGaussian

ROOT = Path(__file__).resolve().parent.parent

# What says nothing about a GPU, by file or by test, and why. Everything else is run on it.
OF_THE_CPU = {
    "browser/": "pages, in a browser",
    "test_benchmarks": "its numbers are those of recorded runs",
    "test_chapter": "it writes files",
    "test_checks": "learners' answers are checked where the notebooks run",
    "test_course": "it reads files",
    "test_data": "data are read into main memory; fit takes them to the GPU",
    "test_device": "its GPU is played by the CPU",
    "test_estimator": "scikit-learn's arrays are in main memory, and the estimator trains there",
    "test_exercises": "notebooks run on a CPU",
    "test_export": "files are written on the CPU, for any machine",
    "test_figures": "figures draw from main memory",
    "test_files": "it writes files",
    "test_gpu_script": "what it measures on a GPU, its own self-test looks at",
    "test_grading": "notebooks run on a CPU",
    "test_learner": "it reads files",
    "test_main": "commands have a --device of their own, and run in processes of their own",
    "test_nets.py::test_the_weights_of_a_seed": "another device draws other numbers",
    "test_notebooks": "notebooks run on a CPU",
    "test_oracles": "oracles are NumPy",
    "test_packaging": "it reads files",
    "test_plots": "pictures are drawn from main memory",
    "test_retraining": "a page trains on the CPU",
    "test_sabotage": "it reads files",
    "test_soak": "many seeds of what others try with one",
    "test_stand_ins": "it looks at who plays a GPU",
    "test_sweep": "it repeats a recorded run of a CPU",
    "test_train_resume.py::test_killed": "its processes fork, which CUDA does not survive",
    "test_train_resume.py::test_compiled_and_killed": "the same, with a C++ compiler",
    "test_train_lock.py::test_a_lock_goes": "the same, without a compiler",
    "test_train_team": "its processes talk by gloo",
    "test_train.py::test_the_processor_is_asked": "the processor is the CPU",
    "test_train.py::test_what_the_machine_cannot_do": "its machine is a CPU",
}
# And what says nothing without one.
OF_A_GPU = {"test_gpu.py"}

NAMES = "arange as_tensor empty eye full linspace ones rand randint randn randperm tensor zeros"
FACTORIES = {getattr(torch, name) for name in NAMES.split()}
MODE = pytest.StashKey()
ARRAY, NUMPY, FROM = torch.Tensor.__array__, torch.Tensor.numpy, torch.from_numpy


class OnDevice(TorchFunctionMode):
    """Tests, and the layers of the models that they build, make their tensors on a device.

    As a user would do it with ``model.to(device)`` and ``device=`` in each of his lines. The
    functions of vaelib are left alone, unlike by ``torch.set_default_device``: one that makes a
    tensor in the wrong place shall fail.
    """

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        factory = function in FACTORIES and kwargs.get("device") is None
        if factory and not called_by_the_package():
            kwargs = kwargs | {"device": self.device}
        return function(*args, **kwargs)


def called_by_the_package():
    """Whether torch is called by a function of vaelib that is no constructor."""
    frame, skip = sys._getframe(1), (str(Path(torch.__file__).parent), __file__)
    while frame.f_code.co_filename.startswith(skip) or frame.f_code.co_name.startswith("<"):
        if frame.f_back is None:  # a module
            return False
        frame = frame.f_back
    inside = frame.f_code.co_filename.startswith(str(Path(vaelib.__file__).parent))
    return inside and frame.f_code.co_name != "__init__"


def go_to(place):
    """Let tests make tensors and generators there, and hand tensors of there to NumPy."""

    class Generator(torch.Generator):  # a class: isinstance and annotations go on
        def __new__(cls, device=None):
            if device is None:
                device = "cpu" if called_by_the_package() else place
            return super().__new__(cls, device)

    def here(t):
        return t if called_by_the_package() else t.detach().cpu()

    def there(array):
        return FROM(array) if called_by_the_package() else FROM(array).to(place)

    torch.Generator, torch.from_numpy = Generator, there
    torch.Tensor.__array__ = lambda self, dtype=None: ARRAY(here(self), dtype)
    torch.Tensor.numpy = lambda self, **options: NUMPY(here(self), **options)
    torch.backends.cudnn.allow_tf32 = False  # ten bits would need wider bounds than the CPU's
    mode = OnDevice(place)
    mode.__enter__()
    return mode


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where the tests' models and data are",
    )


def pytest_configure(config):
    if config.getoption("device") == "cuda":
        if not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda: torch sees no GPU here; leave --device out")
        config.stash[MODE] = go_to(torch.device("cuda"))


def pytest_collection_modifyitems(config, items):
    gpu = config.getoption("device") == "cuda"
    out = OF_THE_CPU if gpu else OF_A_GPU
    elsewhere = [item for item in items if any(f"/{name}" in item.nodeid for name in out)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


@pytest.fixture
def as_users_do(pytestconfig):
    """A test of a GPU that says itself where its tensors are, and compiles."""
    mode = pytestconfig.stash[MODE]
    mode.__exit__(None, None, None)
    yield
    mode.__enter__()


@pytest.fixture
def generator():
    """Randomness with a fixed seed: a statistical test fails always or never."""
    return torch.Generator().manual_seed(20260101)


@pytest.fixture
def linear_gaussian(generator):
    """5 pixels, 3 correlated latents, variance ≠ 1, bias ≠ 0: nothing cancels by accident."""
    weight = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    return LinearGaussian(weight, bias, torch.tensor(0.4, dtype=torch.float64))


@pytest.fixture
def plain_errors():
    """Switch jaxtyping's checks off, so that a bad call reaches our own error message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session", autouse=True)
def no_download():
    """No test reaches the network: what is not on this machine is missing."""

    def refuse(url, **_):
        raise OSError(f"tests do not download {url}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooch, "retrieve", refuse)
        yield


@pytest.fixture(scope="session")
def digits():
    return data.Images(*map(torch.as_tensor, data.digits()))  # on the tests' device


@pytest.fixture(scope="session")
def fashion_mnist(no_download):
    """Fashion-MNIST, or a skip that says how to get it (under .ci/run a skip is a failure)."""
    try:
        return data.fashion_mnist()
    except ConnectionError:
        pytest.skip("Fashion-MNIST is not at hand: apt install dataset-fashion-mnist")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """vaelib's wheel, built once for all who look into it or install it."""
    folder = tmp_path_factory.mktemp("wheel")
    # Built in a fresh folder: what an earlier build left in build/ would end up in the wheel.
    settings = folder / "build.cfg"
    settings.write_text(f"[build]\nbuild_base = {folder / 'build'}\n")
    # --no-isolation: the build tools come from our pins, so no network is needed.
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        env=os.environ | {"DIST_EXTRA_CONFIG": str(settings)},
    )
    (path,) = folder.glob("*.whl")
    return path


TABLE = []


@pytest.fixture
def answers_table():
    """Rows for the table of wrong answers that ends the run: exercise, wrong, named, right."""
    return TABLE


def pytest_terminal_summary(terminalreporter):
    if not TABLE:
        return
    row = "{:<24} {:>6} {:>9} {:>6} {:>6}".format
    lines = [row("exercise", "wrong", "rejected", "named", "right")]
    lines += [row(name, wrong, wrong, named, right) for name, wrong, named, right in TABLE]
    wrong, named, right = (sum(column) for column in list(zip(*TABLE, strict=True))[1:])
    lines.append(row(f"all {len(TABLE)}", wrong, wrong, named, right))
    terminalreporter.section("wrong answers")
    for line in lines:
        terminalreporter.write_line(line)
