"""The work directory belongs to one configuration."""

import pytest

from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.files import atomic_write
from mkd_tf.training.finished import read_done, take_done, write_done
from mkd_tf.training.workdir import FLAGS_FILE, TAKEN, as_flagfile, check_images, claim, lock
from tests.records import ROLE


def make(tmp_path, **values):
    return configuration.from_values({"workdir": str(tmp_path / "run")} | values)


def test_a_new_folder_keeps_its_flags(tmp_path):
    config = make(tmp_path, dataset="voc_folder(path='a=b')", baseline=True, learning_rate=1e-5)
    folder = claim(config)
    assert folder == tmp_path / "run"
    lines = (folder / FLAGS_FILE).read_text().splitlines()
    assert len(lines) == len(configuration.options())
    assert {"--dataset=voc_folder(path='a=b')", "--baseline=true", "--learning_rate=1e-05"} <= set(lines)
    assert claim(config) == folder, "the same flags go on"


def test_other_flags_are_told_by_name_and_change_nothing(tmp_path):
    folder = claim(make(tmp_path))
    before = (folder / FLAGS_FILE).read_text()
    with pytest.raises(MkdError, match="belongs to a run with other flags") as error:
        claim(make(tmp_path, seed=5, strategies="soft_boxes", cache_gb=2.0))
    told = str(error.value)
    assert "--seed was '0', is '5'" in told
    assert "--strategies was 'soft_classes, soft_boxes(weight=2.0)', is 'soft_boxes'" in told
    assert "--cache_gb" not in told
    assert (folder / FLAGS_FILE).read_text() == before


def test_free_flags_may_change(tmp_path):
    claim(make(tmp_path))
    folder = claim(make(tmp_path, cache_gb=0.0, tensorboard=False, data_dir="elsewhere", baseline=True))
    assert "--cache_gb=0.0\n" in (folder / FLAGS_FILE).read_text()


def test_a_flag_that_was_not_there_yet_counts_as_changed(tmp_path):
    folder = claim(make(tmp_path))
    lines = as_flagfile(make(tmp_path)).splitlines(keepends=True)
    (folder / FLAGS_FILE).write_text("".join(line for line in lines if not line.startswith("--seed=")))
    with pytest.raises(MkdError, match="--seed was None, is '0'"):
        claim(make(tmp_path))


def test_comments_in_the_flags_do_not_matter(tmp_path):
    folder = claim(make(tmp_path))
    text = (folder / FLAGS_FILE).read_text()
    (folder / FLAGS_FILE).write_text(f"# my notes\n\n{text}")
    assert claim(make(tmp_path)) == folder


def test_a_file_in_its_place_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(MkdError, match="workdir .*: expected a folder, got a file"):
        claim(make(tmp_path))


def test_a_finished_stage_says_so(tmp_path):
    assert read_done(tmp_path / "teacher") is None
    write_done(tmp_path / "teacher", ROLE)
    assert read_done(tmp_path / "teacher") == ROLE
    (tmp_path / "teacher" / "done.json").write_text('{"AP": 4')
    with pytest.raises(MkdError, match=r"done.json: .* damaged .* Delete it to finish this stage again"):
        read_done(tmp_path / "teacher")


def test_weights_that_a_stage_did_not_leave_are_refused(tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "best.keras").write_bytes(b"weights")
    write_done(folder, ROLE)
    assert read_done(folder) == ROLE
    for content, got in ((b"weightt", "another"), (None, "none")):
        (folder / "best.keras").unlink()
        if content:
            (folder / "best.keras").write_bytes(content)
        with pytest.raises(MkdError, match=rf"best.keras: expected the file that this stage left, got {got}"):
            read_done(folder)
        # A run that goes on finishes the stage again where there is a backup.
        (folder / "backup" / "epoch_000003").mkdir(parents=True)
        done, damage = take_done(folder)
        assert done is None and "delete" in damage
        (folder / "backup" / "epoch_000003").rmdir()
        with pytest.raises(MkdError, match="best.keras"):
            take_done(folder)
        (folder / "best.keras").write_bytes(b"")


def test_a_damaged_flagfile_is_told_shortly(tmp_path):
    stored = claim(make(tmp_path)) / FLAGS_FILE
    whole = stored.read_bytes()
    for content in (b"", b"\xff\xfe\x00", b"\n\n"):
        stored.write_bytes(content)
        with pytest.raises(MkdError, match=r"flags.cfg: expected the flags of the run, got a damaged file"):
            claim(make(tmp_path))
    stored.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MkdError, match=r"belongs to a run with other flags .*; and \d+ more"):
        claim(make(tmp_path))


def test_damaged_hashes_of_images_are_told(tmp_path):
    check_images(tmp_path, "labels", "pixels")
    for content in (b"", b"a b c"):
        (tmp_path / "images.sha256").write_bytes(content)
        with pytest.raises(MkdError, match="images.sha256: expected the hashes .* Delete it if the data set"):
            check_images(tmp_path, "labels", "pixels")


def test_one_process_at_a_time(tmp_path):
    folder = tmp_path / "run"
    handle = lock(folder)
    with pytest.raises(MkdError, match=TAKEN):
        lock(folder)
    handle.close()
    lock(folder).close()


def test_what_a_killed_process_left_half_written_is_cleared(tmp_path):
    for name in ("teacher/.best.part.keras", ".results.json.0a1b2c3d.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    (tmp_path / "teacher" / "best.keras").write_text("whole")
    lock(tmp_path).close()
    kept = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert kept == [".lock", "best.keras"]


def test_changed_images_are_refused(tmp_path):
    check_images(tmp_path, "labels", "pixels")
    check_images(tmp_path, "labels", "pixels")
    with pytest.raises(MkdError, match="the names or labels of the images have changed"):
        check_images(tmp_path, "others", "pixels")
    with pytest.raises(MkdError, match="the pixels of the images have changed"):
        check_images(tmp_path, "labels", "blanked")
    check_images(tmp_path, "labels", "pixels")


def test_a_work_directory_of_before_gets_the_hash_of_the_pixels(tmp_path):
    (tmp_path / "images.sha256").write_text("labels")
    check_images(tmp_path, "labels", "pixels")
    with pytest.raises(MkdError, match="pixels"):
        check_images(tmp_path, "labels", "blanked")


def test_what_another_process_is_writing_stays(tmp_path):
    with atomic_write(tmp_path / "predictions" / "detections.json") as stream:
        stream.write(b"so far")
        lock(tmp_path).close()
    assert (tmp_path / "predictions" / "detections.json").read_bytes() == b"so far"
