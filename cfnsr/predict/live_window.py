"""A window that shows a camera's pictures with the answers below them, as far as they have come."""

from __future__ import annotations

import threading
import time
import tkinter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from tkinter import font

import cv2
import numpy as np
from numpy.typing import NDArray

from cfnsr.media.video import Picture
from cfnsr.predict.answer import Moment
from cfnsr.predict.show.palette import INPUTS, NOTE, SYNTHETIC_NOTE, clock, colour

_WIDTH, _HEIGHT = 640, 640  # pixels; the picture is made to fit
_ROW, _MARGIN = 24, 14  # pixels
_PAUSE = 0.02  # s between two looks for something new
_INK, _FAINT, _PAPER, _TRACK = "#1f2937", "#6b7280", "#ffffff", "#e5e7eb"


class LiveWindow:
    """The window.

    Args:
        title: above it.
        labels: a bar each.
        synthetic: what the network was trained on is said at the bottom.

    Raises:
        tkinter.TclError: there is no display.
    """

    def __init__(self, title: str, labels: Sequence[str], synthetic: bool) -> None:
        self._labels, self._note = labels, SYNTHETIC_NOTE if synthetic else NOTE
        self._root = tkinter.Tk()
        self._root.title(title)
        self._root.resizable(False, False)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._canvas = tkinter.Canvas(self._root, width=_WIDTH, height=_HEIGHT, background=_PAPER, highlightthickness=0)
        self._canvas.pack()
        family = font.nametofont("TkDefaultFont").actual("family")
        self._fonts = {size: (family, -size) for size in (12, 15, 22)}  # negative: pixels
        self._image: tkinter.PhotoImage | None = None  # Tk does not keep it
        self.open = True

    def close(self) -> None:
        """Close it, as its user may do at any time."""
        if self.open:
            self.open = False
            self._root.destroy()

    def show(self, image: NDArray[np.uint8], moment: Moment | None) -> None:
        """Draw a picture (H, W, 3), blue first, and the last answer; None before the first."""
        scale = min(_WIDTH / image.shape[1], _HEIGHT / image.shape[0])
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        shown = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        header = f"P6 {size[0]} {size[1]} 255 ".encode()
        self._image = tkinter.PhotoImage(data=header + np.ascontiguousarray(shown).tobytes(), format="PPM")
        self._canvas.delete("all")
        left = (_WIDTH - size[0]) // 2
        self._canvas.create_image(left, 0, image=self._image, anchor="nw")
        if moment is not None and moment.box is not None and moment.answer is not None:
            x, y, width, height = (value * scale for value in moment.box)
            hue = colour(moment.answer.emotion)
            self._canvas.create_rectangle(left + x, y, left + x + width, y + height, outline=hue, width=3)
        self._answer(size[1] + _MARGIN, moment)

    def update(self) -> None:
        """Let Tk react to its user."""
        if self.open:
            self._root.update()

    def _answer(self, top: int, moment: Moment | None) -> None:
        answer = None if moment is None else moment.answer
        if moment is None or answer is None:
            said = ", ".join(moment.flags) if moment else ""
            self._text(_MARGIN, top, said or "the first answer comes soon", 22, _FAINT)
        else:
            self._text(_MARGIN, top, f"{answer.emotion} {answer.confidence:.0%}", 22, _INK)
            flags = "".join(f", {flag}" for flag in moment.flags)
            said = f"{clock(moment.end)}, from {INPUTS[answer.inputs]}{flags}"
            self._text(_WIDTH - _MARGIN, top + 8, said, 12, _FAINT, "ne")
        begin, end = _MARGIN + 90, _WIDTH - _MARGIN - 50
        for row, label in enumerate(self._labels):
            y = top + 40 + row * _ROW
            share = answer.probabilities[label] if answer else 0.0
            self._text(_MARGIN, y, label, 15, _INK)
            self._canvas.create_rectangle(begin, y + 3, end, y + 15, fill=_TRACK, width=0)
            self._canvas.create_rectangle(
                begin, y + 3, begin + (end - begin) * share, y + 15, fill=colour(label), width=0
            )
            self._text(_WIDTH - _MARGIN, y, f"{share:.0%}", 15, _INK, "ne")
        bottom = top + 40 + len(self._labels) * _ROW + 6
        self._text(_MARGIN, bottom, self._note, 12, _FAINT)
        self._canvas.configure(height=bottom + 24)

    def _text(self, x: int, y: int, text: str, size: int, ink: str, anchor: str = "nw") -> None:
        self._canvas.create_text(x, y, text=text, font=self._fonts[size], fill=ink, anchor=anchor)  # type: ignore[call-overload]


def watch(
    window: LiveWindow,
    pictures: Iterator[Picture],
    live: Callable[[Iterator[Picture]], Iterator[Moment]],
    told: Callable[[Moment], None],
) -> None:
    """Show pictures as they come, until they end or the window is closed.

    Args:
        window: an open one.
        pictures: of a camera.
        live: makes moments of pictures, in their time; it runs in a thread, because the window needs this one.
        told: of every moment, in that thread.
    """
    shown: list[NDArray[np.uint8]] = []  # the last one
    said: list[Moment] = []  # the last one
    errors: list[BaseException] = []
    stopped = threading.Event()

    def passing() -> Iterator[Picture]:
        for picture in pictures:
            shown[:] = [picture.bgr()]  # here, because two threads must not convert the same frame
            yield picture

    def answer() -> None:
        try:
            with closing(live(passing())) as moments:  # type: ignore[type-var]  # it is a generator
                for moment in moments:
                    if stopped.is_set():
                        break
                    said[:] = [moment]
                    told(moment)
        except BaseException as error:  # it belongs to the caller
            errors.append(error)

    thread = threading.Thread(target=answer, name="answer", daemon=True)
    thread.start()
    drawn: tuple[NDArray[np.uint8] | None, Moment | None] = None, None
    try:
        while window.open and thread.is_alive():
            image, moment = shown[-1] if shown else None, said[-1] if said else None
            if image is not None and not (image is drawn[0] and moment is drawn[1]):
                window.show(image, moment)
                drawn = image, moment
            window.update()
            time.sleep(_PAUSE)
    finally:
        stopped.set()
        thread.join()
        window.close()
    if errors:
        raise errors[0]
