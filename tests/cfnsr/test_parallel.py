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
from cfnsr.parallel import default_workers, map_clips


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


def fail_on_three(number):
    if number == 3:
        raise KeyError("a bug")
    return number


def touch(folder, number):
    (folder / str(number)).touch()
    time.sleep(0.05)
    return number


def outcomes(function, tasks):
    return {
        task: str(out) if isinstance(out, ClipError) else out
        for task, out in map_clips(function, tasks, workers=2, description="test")
    }


def test_an_error_of_a_decoder_is_a_clip_error():
    found = outcomes(decode, range(6))
    assert {task: found.pop(task) for task in (0, 1, 2, 5)} == {0: 0, 1: 1, 2: 2, 5: 5}
    assert found[3].startswith("it can't be decoded (OpenCV")
    assert found[4].startswith("it can't be decoded ([Errno 2]")


def test_a_bad_clip_does_not_stop_the_others():
    assert outcomes(square, range(6)) == {0: 0, 1: 1, 2: 4, 3: "three is damaged", 4: 16, 5: 25}


def test_only_the_clip_that_crashes_its_process_gets_a_reason():
    results = outcomes(partial(die_on_three, signal.SIGSEGV), range(12))
    assert "crashed on this file" in results.pop(3)
    assert results == {number: number for number in range(12) if number != 3}


def test_a_killed_process_is_not_blamed_on_a_clip():
    with pytest.raises(InputError, match="set CFNSR_WORKERS lower than 2"):
        outcomes(partial(die_on_three, signal.SIGKILL), range(12))


def test_a_bug_stops_the_run():
    with pytest.raises(KeyError, match="a bug"):
        outcomes(fail_on_three, range(6))


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


def test_an_environment_variable_sets_the_number_of_workers(monkeypatch):
    monkeypatch.setenv("CFNSR_WORKERS", "3")
    assert default_workers() == 3
    monkeypatch.setenv("CFNSR_WORKERS", "two")
    with pytest.raises(InputError, match="CFNSR_WORKERS is 'two'"):
        default_workers()
