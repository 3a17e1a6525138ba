"""What tests of the camera's window do in a process of their own: Xlib ends the process whose X server goes away."""

import os
import threading
from collections.abc import Iterator

import av
import numpy as np
from PIL import ImageGrab

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.errors import ClipError
from cfnsr.media.video import Picture
from cfnsr.predict.answer import Answer, Flag, Moment

GREY = 128


def picture(time: float = 0.0) -> Picture:
    """320 x 240, grey."""
    return Picture.of(time, av.VideoFrame.from_ndarray(np.full((240, 320, 3), GREY, np.uint8), format="bgr24"))


def moment(**shares: float) -> Moment:
    """With these probabilities, of a face in the middle."""
    probabilities = {emotion: shares.get(emotion, 0.0) for emotion in EMOTIONS}
    return Moment(0.0, 2.0, Answer.of(probabilities, "video"), (Flag.NO_AUDIO,), 1, (100.0, 50.0, 80.0, 80.0))


def drawn(display: str) -> np.ndarray:
    """The screen (H, W, 3) with a window that shows an angry face."""
    window = _window(display)
    window.show(picture().bgr(), moment(angry=0.75, calm=0.25))
    window.update()
    return np.asarray(ImageGrab.grab(xdisplay=display))


def watched(display: str) -> tuple[list[Moment], bool]:
    """What was told of a camera with two pictures, and whether the window is open at its end."""
    from cfnsr.predict.live_window import watch

    window, told = _window(display), []

    def live(pictures: Iterator[Picture]) -> Iterator[Moment]:
        for _, said in zip(pictures, ("sad", "happy"), strict=True):
            yield moment(**{said: 1.0})

    watch(window, (picture(number) for number in range(2)), live, told.append)
    return told, window.open


def broken(display: str) -> None:
    """A camera that fails."""
    from cfnsr.predict.live_window import watch

    def pictures() -> Iterator[Picture]:
        yield picture()
        raise ClipError("the camera went away")

    watch(_window(display), pictures(), lambda seen: (moment(sad=1.0) for _ in seen), lambda _: None)


def closed(display: str) -> list[str]:
    """Names of the threads that are left when a user has closed the window of an endless camera."""
    from cfnsr.predict.live_window import watch

    window = _window(display)
    window._root.after(300, window.close)  # as the window manager's button does

    def pictures() -> Iterator[Picture]:
        while True:
            yield picture()

    watch(window, pictures(), lambda seen: (moment(sad=1.0) for _ in seen), lambda _: None)
    return [thread.name for thread in threading.enumerate()]


def _window(display: str):
    from cfnsr.predict.live_window import LiveWindow

    os.environ["DISPLAY"] = display
    return LiveWindow("camera", EMOTIONS, synthetic=True)
