"""What a handler may take, with or without a user of its own; and what becomes of the files that it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.counting import calls_of
from helpers.processes import gone
from taskservice.core.types import OutcomeKind as Kind
from taskservice.runtime.scratch import Emptied, Scratch, empty, remove, taken

NOSY = {"module": "nosy"}


def asleep() -> set[int]:
    """Processes of our children's that live, wherever they have gone."""
    found = set()
    for each in psutil.process_iter(["cmdline", "status"]):
        if "taskservice.runtime.child" in (each.info["cmdline"] or ()) and each.info["status"] != psutil.STATUS_ZOMBIE:
            found.add(each.pid)
    return found


def test_temporary_files_are_in_a_folder_of_the_childs_own_and_gone_after_the_attempt(fresh):
    first, second = fresh.run("scribble", [{"name": "a"}, {"name": "b"}], **NOSY).results()
    assert first["folder"] == second["folder"] == first["tmpdir"]
    assert first["before"] == second["before"] == []
    other = fresh.run("scribble", [{"name": "c"}], tenant="rival", **NOSY).results()[0]
    assert other["folder"] != first["folder"]
    assert list(Path(first["folder"]).iterdir()) == []
    fresh.pool.close()
    assert not Path(first["folder"]).exists()


def test_what_an_attempt_tells_tempfile_is_forgotten(fresh, tmp_path):
    fresh.run("spoil_tempfile", [{"folder": str(tmp_path)}], **NOSY).results()
    told = fresh.run("scribble", [{"name": "a"}], **NOSY).results()[0]
    assert told["folder"] == told["tmpdir"] != str(tmp_path)


def test_what_a_handler_that_died_has_left_is_gone(fresh):
    run = fresh.run("scribble", [{"name": "a", "stay": True}], **NOSY)
    assert run.kinds == [Kind.CRASHED]
    root = Path(fresh.run("scribble", [{"name": "b"}], **NOSY).results()[0]["folder"]).parents[1]
    assert len(list(root.iterdir())) == 1, "the living child's"


def test_what_a_killed_supervisor_has_left_is_swept(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from taskservice.runtime.scratch import Scratch\n"
        "folder = Scratch(Path(sys.argv[1])).make(0); (folder / 'tmp' / 'file').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    living = Scratch(tmp_path / "root")
    kept = living.make(0)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "root")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "root").iterdir())) == 4
    assert living.sweep() == 1
    assert kept.exists()
    living.close()
    assert list((tmp_path / "root").iterdir()) == []


def test_the_place_of_temporary_files_is_not_taken_from_others(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    with pytest.raises(PermissionError, match="temp_dir"):
        Scratch(tmp_path / "root").make(0)


def test_a_folder_is_emptied_whatever_is_in_it(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    folder = tmp_path / "folder"
    deep = folder
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (folder / "link").symlink_to(outside)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "shut" / "in").mkdir(parents=True)
    (folder / "shut").chmod(0)
    os.mkfifo(folder / "pipe")
    empty(str(folder))
    assert list(folder.iterdir()) == []
    assert (outside / "kept").exists(), "links are not followed"
    remove(folder)
    empty(str(folder))
    assert folder.is_dir(), "a folder that was removed is there again"


def test_a_folder_that_nobody_has_changed_is_not_read_again(tmp_path):
    """By its time, which is coarse: what was changed just now is read."""
    files = Emptied(str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).touch()
        files.again()
        assert list(tmp_path.iterdir()) == []
    os.utime(tmp_path, ns=(0, time.time_ns() - 10**9))
    assert calls_of(files.again, empty) == 1
    assert calls_of(lambda: [files.again() for _ in range(5)], empty) == 0
    (tmp_path / "c").touch()
    files.again()
    assert list(tmp_path.iterdir()) == []


def test_folders_in_folders_too_deep_for_any_path_are_removed(fresh):
    fresh.run("dig", [{"depth": 200}], **NOSY).results()
    told = fresh.run("scribble", [{"name": "a"}], **NOSY).results()[0]
    assert told["before"] == []


def test_what_is_taken_counts_files_and_what_they_have_on_disk(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(bytes(100_000))
    size_bytes, count = taken(str(tmp_path), 10)
    assert count == 2
    assert 100_000 <= size_bytes < 200_000
    assert taken(str(tmp_path), 1)[1] == 2, "not looked at further than that there are too many"


@pytest.mark.parametrize(
    ("limits", "payload", "said"),
    [
        ({"temp_files_max": 50}, {"files": 60, "size": 0}, "50 files (temp_files_max)"),
        ({"temp_bytes_max": 1_000_000}, {"files": 2, "size": 1_000_000}, "hold 1000000 (temp_bytes_max)"),
    ],
)
def test_a_full_temporary_folder_is_the_handlers_error(make_node, limits, payload, said):
    run = make_node(**limits).run("fill", [payload], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "its temporary folder was full" in run.outcomes[1].message
    assert said in run.outcomes[1].message


def test_a_file_that_grows_too_large_and_too_many_open_ones_are_the_handlers_error(make_node):
    node = make_node(file_bytes_max=2_000_000, open_files_max=100)
    run = node.run("grow", [{"size": 1_000_000}, {"size": 3_000_000}], **NOSY)
    assert run.kinds == [Kind.SUCCEEDED, Kind.HANDLER_ERROR]
    assert "a file of a handler may have 2000000 bytes (file_bytes_max)" in run.outcomes[2].message
    run = node.run("open_files", [{"count": 10}, {"count": 200}], **NOSY)
    assert run.kinds == [Kind.SUCCEEDED, Kind.HANDLER_ERROR]
    assert "may have 100 files open (open_files_max)" in run.outcomes[2].message


def test_a_handler_that_forks_too_often_is_ended_with_all_its_copies(make_node):
    """Without a user of its own the kernel does not count for us."""
    node = make_node(processes_max=50)
    pid = node.run("pid", [{}]).results()[0]
    before = asleep()
    run = node.run("fork_bomb", [{"count": 1_000, "leave": True}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "processes and threads, and may have 50 (processes_max)" in run.outcomes[1].message
    assert node.run("pid", [{}]).results() == [pid], "others go on"
    assert all(gone(each) for each in asleep() if each not in before)


def test_a_handler_that_starts_too_many_threads_is_ended(make_node):
    run = make_node(processes_max=200).run("start_threads", [{"count": 2_000}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "may have 200 (processes_max)" in run.outcomes[1].message


def test_a_child_that_processes_were_left_in_is_not_used_again(make_node):
    node = make_node(processes_max=40)
    first, second, third = (node.run("leave", [{"count": each}], module="rogue").results()[0] for each in (2, 20, 0))
    assert first == second != third
    assert gone(second, within_s=0)


def test_libraries_are_held_to_the_functions_cpus(fresh, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")  # as Ray sets it, or whoever started the service
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"]

    def told(cpu_m: int) -> set[str]:
        return set(fresh.run("environment", [{"names": names}], cpu_m=cpu_m, **NOSY).results()[0].values())

    assert [told(cpu_m) for cpu_m in (100, 1_000, 2_500)] == [{"1"}, {"1"}, {"2"}]


def test_functions_of_as_many_threads_share_a_child(fresh):
    pids = [fresh.run("pid", [{}], cpu_m=cpu_m).results()[0] for cpu_m in (100, 1_900, 2_000)]
    assert pids[0] == pids[1] != pids[2]


def test_a_handler_that_closes_its_output_harms_nobody(fresh):
    run = fresh.run("close_stdout", [{"text": "a"}, {"text": "b"}], **NOSY)
    assert 1 in run.outcomes
    assert run.outcomes[1].kind is Kind.SUCCEEDED
    assert fresh.run("say", [{"text": "c"}], module="rogue").results() == ["c"]


def test_binary_output_is_in_the_log_as_far_as_it_is_text(node):
    node.run("print_binary", [{}], **NOSY).results()
    assert "raw" in node.log()
    assert "buffered" in node.log()
