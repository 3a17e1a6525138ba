import os
import signal
import sys
import time
from functools import partial

import av
import cv2
import numpy as np
import pytest
from helpers.paths import PROJECT
from helpers.running_programs import kill, running, wait_for

from cfnsr.errors import ClipError, InputError
from cfnsr.parallel import map_clips


def square(number):
    if number == 3:
        raise ClipError("three is damaged")
    return number**2


def decode(number):
    if number == 3:
        cv2.resize(np.zeros((4, 4)), (0, 0))
    if number == 4:
        av.open("file:nowhere.mp4")
    return number


def die_on_three(by, number):
    if number == 3:
        os.kill(os.getpid(), by)
    return number


def crash_then_be_killed(folder, number):
    """Dies of a crash the first time, of a kill the second: when it is tried alone."""
    try:
        (folder / str(number)).touch(exist_ok=False)
    except FileExistsError:
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGSEGV)


def fail_on_three(number):
    if number == 3:
        raise KeyError("a bug")
    return number


def touch(folder, number):
    (folder / str(number)).touch()
    time.sleep(0.05)
    return number


def outcomes(function, tasks, **options):
    options = {"workers": 2, "description": "test"} | options
    return {
        task: str(out) if isinstance(out, ClipError) else out for task, out in map_clips(function, tasks, **options)
    }


def test_an_error_of_a_decoder_is_the_clips():
    found = outcomes(decode, range(6))
    assert {task: found.pop(task) for task in (0, 1, 2, 5)} == {0: 0, 1: 1, 2: 2, 5: 5}
    assert found[3].startswith("it can't be decoded (OpenCV")
    assert found[4].startswith("it can't be decoded ([Errno 2]")


def test_a_bad_clip_does_not_stop_the_others():
    assert outcomes(square, range(6)) == {0: 0, 1: 1, 2: 4, 3: "three is damaged", 4: 16, 5: 25}


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT])
def test_only_the_clip_that_crashes_its_process_gets_a_reason(crash):
    results = outcomes(partial(die_on_three, crash), range(12))
    assert "crashed on this file" in results.pop(3)
    assert results == {number: number for number in range(12) if number != 3}


def test_a_killed_process_is_no_clips_fault():
    with pytest.raises(InputError, match=r"killed, probably .* memory .*: set CFNSR_WORKERS lower than 2 and run"):
        outcomes(partial(die_on_three, signal.SIGKILL), range(12))


def test_a_lone_process_that_is_killed_can_only_get_more_memory(tmp_path):
    with pytest.raises(InputError, match=r"killed, probably .*: free some memory and run"):
        outcomes(partial(crash_then_be_killed, tmp_path), [0])


def test_a_bug_stops_the_run():
    with pytest.raises(KeyError, match="a bug"):
        outcomes(fail_on_three, range(6))


def test_nothing_to_do():
    assert outcomes(square, []) == {}


def test_the_bar_starts_where_the_earlier_run_ended(capsys):
    outcomes(square, range(2), done=6, description="faces", unit="file")
    bar = capsys.readouterr().err
    assert "faces:  75%" in bar
    assert "6/8" in bar
    assert "8/8" in bar
    assert "file" in bar


def test_stopping_early_does_not_wait_for_the_queue(tmp_path):
    for _ in map_clips(partial(touch, tmp_path), range(200), workers=2, description="test"):
        break
    assert len(list(tmp_path.iterdir())) < 20


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_parallel import touch; from cfnsr.parallel import map_clips\n"
        "list(map_clips(partial(touch, Path(sys.argv[1])), range(10_000), workers=2, description='test'))\n"
    )
    tests = PROJECT / "tests" / "cfnsr"
    path = {"PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])}
    with running([sys.executable, "-c", code, tmp_path, tests], env={**os.environ, **path}) as program:
        wait_for(program, lambda: any(tmp_path.iterdir()))
        kill(program)  # returns when the workers are gone
    assert len(list(tmp_path.iterdir())) < 10_000
