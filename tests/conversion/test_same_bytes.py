"""The same network gives the same bytes, in another process too, whose hashes of text differ."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.conversion import made
from tests.conversion.onnx import made_onnx

_PROGRAM = """
import hashlib
from tests.conversion import made
from tests.conversion.onnx import made_onnx
for content in (made.file("int8"), made_onnx.file("int8"), made_onnx.file()):
    print(hashlib.sha256(content).hexdigest())
"""


def test_two_processes_write_the_same_files():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    here = (made.file("int8"), made_onnx.file("int8"), made_onnx.file())
    assert done.stdout.split() == [hashlib.sha256(content).hexdigest() for content in here]
