"""Asks Bazel about BUILD and lets it run some tests: `python -m tests.run_bazel [TARGET ...]`.

Made for the Bazel 4.2.3 of Debian and Ubuntu, which works without a network when the
repositories it would download are those that apt installs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("//:tests/test_registry", "//:tests/test_files", "//:tests/detection/test_boxes")
PACKAGES = "bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib"
# Where these packages put the repositories that Bazel itself needs.
INSTALLED = {
    "platforms": "/usr/share/bazel/tools/platforms",
    "rules_java": "/usr/share/bazel/rules/java",
    "rules_proto": "/usr/share/bazel/rules/proto",
    "bazel_skylib": "/usr/share/bazel/tools/skylib",
}
_CC_RULES = [
    f"cc_{rule}"
    for rule in ("binary", "import", "library", "proto_library", "test", "toolchain", "toolchain_suite")
] + ["objc_library"]
# Two that no package has in a form that Bazel 4 reads. Its own files load the rules for
# C++ from rules_cc, which were built in; every test names the tools that join coverage
# reports, and none here uses them.
MADE = {
    "rules_cc": {
        "WORKSPACE": "",
        "BUILD": "",
        "cc/BUILD": "",
        "cc/defs.bzl": "".join(f"{rule} = native.{rule}\n" for rule in _CC_RULES),
    },
    "remote_coverage_tools": {
        "WORKSPACE": "",
        "BUILD": """\
package(default_visibility = ["//visibility:public"])
filegroup(name = "coverage_report_generator")
filegroup(name = "lcov_merger")
""",
    },
}


def missing() -> list[str]:
    """Returns what this machine lacks, by the names of its files."""
    program = [] if shutil.which("bazel") else ["bazel"]
    return program + [folder for folder in INSTALLED.values() if not Path(folder).is_dir()]


def main(targets: list[str]) -> int:
    """Runs `bazel query //...` and `bazel test`; returns the exit status of the one that failed."""
    if lacks := missing():
        print(f"error: missing {', '.join(lacks)}. Install: apt-get install {PACKAGES}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Path(folder) / name for name in MADE}
        for name, files in MADE.items():
            for file, content in files.items():
                path = made[name] / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        overrides = [f"--override_repository={name}={path}" for name, path in {**INSTALLED, **made}.items()]
        # Tests run in the Python that runs this file.
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        test = [
            f"--test_env=PATH={search}",
            f"--action_env=PATH={search}",
            "--test_output=errors",
            "--experimental_convenience_symlinks=ignore",
        ]
        for command in (["query", *overrides, "//..."], ["test", *overrides, *test, *targets]):
            done = subprocess.run(["bazel", "--max_idle_secs=60", *command], cwd=ROOT, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TARGETS)))
