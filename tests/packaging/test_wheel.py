"""The wheel: built from the source archive, installed outside the checkout, and used there as a user does."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "mkd_tf", "export", "tests")
TRAIN = (
    "--dataset=shapes(train=8, validation=4, test=4, unlabelled=0, size=64)",
    "--image_size=64",
    "--batch_size=4",
    "--teacher=tiny(widths=(8,8,16,16),pyramid=8)",
    "--guide=none",
    "--student=tiny(widths=(8,8,16,16),pyramid=8)",
    "--teacher_epochs=1",
    "--student_epochs=1",
)
FIND = "import importlib.util; print(importlib.util.find_spec('mkd_tf').origin)"

# The environment is one without the extras of setup.cfg.
WITHOUT_EXTRAS = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
# As the .pth file of setuptools does: without it Python 3.12 has no distutils.
import _distutils_hack
_distutils_hack.add_shim()
"""
EXTRAS = ("onnx", "onnxruntime", "tf2onnx", "matplotlib", "ai_edge_quantizer")
EXTRAS += ("manimgx_fonts", "manimgx_fonts_cjk")


def call(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Runs a command that must end with `status`; returns what it printed, or its errors if that is not 0."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Builds the source archive and from it the wheel, in a copy: `build/` would stay in the checkout."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    call(sys.executable, "-m", "build", "--no-isolation", cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel, and the packages of this one without its checkout; returns its bin/."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=folder)
    # A path in a .pth file is searched for packages, but not for .pth files: that of an
    # editable checkout is not seen. What is installed in the environment itself comes first.
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(site) / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\nimport without_extras\n")
    (Path(site) / "without_extras.py").write_text(WITHOUT_EXTRAS.format(names=EXTRAS))
    return folder / "bin"


def test_the_wheel_holds_the_package_and_the_kits_alone(wheel):
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    assert {path.parts[0].split("-")[0] for path in names} == {"mkd_tf"}
    modules = {path.relative_to(ROOT) for path in (ROOT / "mkd_tf").rglob("*.py")}
    assert modules <= names
    assert Path("mkd_tf/py.typed") in names
    for kit in ("android", "coral", "micro"):
        files = {path.name for path in (ROOT / "export" / kit).iterdir() if path.is_file()}
        assert {path.name for path in names if path.parts[:3] == ("mkd_tf", "kits", kit)} == files


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_programs_of_the_wheel_outside_the_checkout(installed, tmp_path):
    found = Path(call(installed / "python", "-c", FIND, cwd=tmp_path).strip())
    assert found.is_relative_to(installed.parent), "this is not the wheel"

    def mkd(*arguments: str, status: int = 0) -> str:
        return call(installed / "mkd", *arguments, cwd=tmp_path, status=status)

    assert mkd("--version").startswith("mkd ")
    mkd("train", *TRAIN, "--workdir=run", "--data_dir=data")
    assert (tmp_path / "run/student/best.keras").is_file()
    mkd("evaluate", "--workdir=run", "--output=metrics.json")
    assert "AP" in json.loads((tmp_path / "metrics.json").read_text())
    mkd("export", "--workdir=run", "--max_ap_drop=100")
    exported = "run/export/student_int8.tflite"
    told = mkd("export", "--workdir=run", "--formats=onnx", status=1)
    assert told.splitlines()[-1].startswith("error: ")
    assert "pip install mkd_tf[onnx]" in told
    mkd("edgetpu_check", f"--model={exported}", "--compiler=never")
    mkd("kit", "coral", "board")
    (image,) = [*(tmp_path / "run/examples").glob("*.*")][:1] or pytest.fail("no example image")
    mkd("predict", f"--model={exported}", f"--input={image}", "--output=drawn")
    assert len(list((tmp_path / "drawn").iterdir())) == 2
    # The kit needs nothing of the package: the environment's Python runs it as a board does.
    call(
        installed / "python",
        "board/detect.py",
        f"--model={exported}",
        f"--input={image}",
        "--output=board/out",
        cwd=tmp_path,
    )
