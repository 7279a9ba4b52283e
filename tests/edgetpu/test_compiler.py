"""The compiler's word: its log in every form, and what becomes of the file. The compiler is a stand-in."""

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from mkd_tf.checks import MkdError
from mkd_tf.edgetpu.compiler import compile_model, parse_log
from mkd_tf.edgetpu.placement import ACCEPTED, PARTLY, REJECTED, check
from mkd_tf.edgetpu.report import check_file, judge
from tests.edgetpu.edgetpu_models import model
from tests.edgetpu.fake_edgetpu_compiler import LOGS, install


def test_a_log_of_success():
    log = parse_log(LOGS["ends on the CPU"])
    assert log.version == "16.0.384591198"
    assert log.failure == ""
    assert log.on_chip_bytes == round(6.89 * 2**20)
    assert log.off_chip_bytes == 175 * 2**10
    assert (log.on_edge_tpu, log.on_cpu) == (4, 3)
    assert log.operations[0] == ("CONV_2D", 3, "Mapped to Edge TPU")
    assert log.unmapped() == [
        ("DEQUANTIZE", 2, "Operation is working on an unsupported data type"),
        ("CUSTOM", 1, "Operation is working on an unsupported data type"),
    ]


@pytest.mark.parametrize(
    ("name", "verdict", "told"),
    [
        ("all mapped", ACCEPTED, []),
        ("ends on the CPU", ACCEPTED, []),
        (
            "core on the CPU",
            PARTLY,
            [
                "operator CONV_2D (3 times) runs on the CPU: More than one subgraph is not supported",
                "operator TRANSPOSE (1 times) runs on the CPU: Operation not supported",
            ],
        ),
        ("nothing mapped", PARTLY, ["no operator runs on the Edge TPU"]),
        ("counts without a table", ACCEPTED, []),
        ("a short table", PARTLY, ["5 operators run on the CPU, of which 1 may or are named"]),
        ("not quantized", REJECTED, ["Model not quantized"]),
        ("internal", REJECTED, ["Internal compiler error. Aborting!"]),
        ("its own timeout", REJECTED, ["Compilation timeout. This is usually caused by large activations."]),
    ],
)
def test_the_verdict_of_a_log(name, verdict, told):
    judgement = judge(check(model("detection")), parse_log(LOGS[name]))
    assert judgement.verdict == verdict
    assert list(judgement.problems) == [f"edgetpu_compiler: {problem}" for problem in told]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("not parsed", "Model could not be parsed (Didn't find op for builtin opcode 'EXP' version '2'."),
        (
            "large activations",
            "Compilation failed: Compilation failed due to large activation tensors in model.",
        ),
    ],
)
def test_a_failure_is_told_with_its_cause(name, told):
    assert parse_log(LOGS[name]).failure.startswith(told)


def test_counts_alone_allow_no_more_than_the_ends():
    # The plain model has nothing that may run on the CPU.
    judgement = judge(check(model("plain")), parse_log(LOGS["counts without a table"]))
    assert judgement.verdict == PARTLY
    assert "1 operators run on the CPU, of which 0" in judgement.problems[0]


def test_a_custom_operator_may_be_the_post_process_alone():
    judgement = judge(check(model("plain")), parse_log(LOGS["ends on the CPU"]))
    assert judgement.verdict == PARTLY
    assert "operator CUSTOM (1 times)" in judgement.problems[0]


@pytest.mark.parametrize("name", ["garbage", "silence", "a part without numbers", "hang"])
def test_what_is_no_verdict(name):
    with pytest.raises(MkdError, match="expected a log that tells success or failure, got"):
        parse_log(LOGS[name])


def test_the_compilers_word_counts_and_the_disagreement_is_told():
    against = judge(check(model("plain")), parse_log(LOGS["internal"]))
    assert against.verdict == REJECTED
    assert against.disagreement == (
        "the compiler says rejected, the static check accepted (nothing is known against it)"
    )
    in_favour = judge(check(model("hard-swish")), parse_log(LOGS["all mapped"]))
    assert in_favour.passes
    assert in_favour.disagreement.startswith(
        "the compiler says accepted, the static check partly on the CPU (operator HARD_SWISH v1"
    )
    assert judge(check(model("plain")), parse_log(LOGS["all mapped"])).disagreement == ""
    assert judge(check(model("hard-swish"))).verdict == PARTLY


def test_a_compiled_file(tmp_path):
    log, compiled = compile_model(b"content", install(tmp_path, "all mapped"), 300)
    assert compiled == b"compiled of content"
    assert log.failure == ""
    assert compile_model(b"content", install(tmp_path, "internal"), 300)[1] == b""


def test_a_hang_is_ended_with_all_it_started(tmp_path):
    program = install(tmp_path, "hang")
    start = time.monotonic()
    with pytest.raises(
        MkdError, match=r"edgetpu_compiler: expected an end within 1 s, got none. Raise --timeout_s"
    ):
        compile_model(b"content", program, timeout_s=1)
    assert time.monotonic() - start < 30
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        # A zombie that nobody has collected yet has ended too.
        try:
            ended = Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            ended = True
        if ended:
            return
        time.sleep(0.05)
    os.kill(child, 9)
    pytest.fail("the child outlived the compiler")


def test_success_without_a_file(tmp_path):
    with pytest.raises(MkdError, match=r"expected the file model_edgetpu.tflite, got none"):
        compile_model(b"content", install(tmp_path, "no file"), 300)


def test_a_program_that_cannot_start(tmp_path):
    broken = tmp_path / "edgetpu_compiler"
    broken.write_bytes(b"\x7fELF, cut off")
    broken.chmod(0o755)
    with pytest.raises(MkdError, match="edgetpu_compiler: cannot be started"):
        compile_model(b"content", str(broken), 300)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a model and the compiled file of an earlier run, and a PATH of its own."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "student_int8.tflite").write_bytes(model("plain"))
    (tmp_path / "student_int8_edgetpu.tflite").write_bytes(b"earlier")
    return tmp_path


def _check(folder, compiler="auto", timeout_s=60.0):
    console = Console(file=io.StringIO(), width=200)
    judgement = check_file(folder / "student_int8.tflite", compiler, timeout_s, console)
    return judgement, console.file.getvalue()


def test_an_accepted_file_is_put_beside_the_model(workplace):
    install(workplace / "bin", "all mapped")
    judgement, printed = _check(workplace)
    assert judgement.passes
    beside = workplace / "student_int8_edgetpu.tflite"
    assert beside.read_bytes() == b"compiled of " + model("plain")
    assert "edgetpu_compiler: parameters 6.89 MiB on the chip, 0.17 MiB streamed" in printed
    assert "accepted by edgetpu_compiler" in printed
    assert "student_int8_edgetpu.tflite" in printed
    assert sorted(p.name for p in workplace.iterdir()) == ["bin", "student_int8.tflite", beside.name]


@pytest.mark.parametrize("name", ["core on the CPU", "not parsed"])
def test_a_refused_file_leaves_the_earlier_one(workplace, name):
    install(workplace / "bin", name)
    judgement, printed = _check(workplace)
    assert not judgement.passes
    assert (workplace / "student_int8_edgetpu.tflite").read_bytes() == b"earlier"
    assert "disagreement: the compiler says" in printed
    assert "static check accepted" in printed


@pytest.mark.parametrize("name", ["garbage", "hang", "no file"])
def test_a_compiler_without_a_verdict_is_an_error_after_the_static_table(workplace, name):
    install(workplace / "bin", name)
    with pytest.raises(MkdError, match="edgetpu_compiler"):
        _check(workplace, timeout_s=1)
    assert (workplace / "student_int8_edgetpu.tflite").read_bytes() == b"earlier"
    judgement, printed = _check(workplace, compiler="never")
    assert judgement.passes
    assert "accepted by the static check" in printed


def test_options_out_of_range(workplace):
    with pytest.raises(MkdError, match="compiler: expected one of auto, never, got 'always'"):
        _check(workplace, compiler="always")
    with pytest.raises(MkdError, match="timeout_s: expected a number above 0"):
        _check(workplace, timeout_s=0.0)
