"""The web page of `cfnsr serve`. It needs Gradio, from the extra `demo`; nothing else of the library imports this."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from cfnsr.errors import InputError
from cfnsr.predict import Moment, Predictor
from cfnsr.predict.show.palette import clock
from cfnsr.predict.show.tables import timeline_file
from cfnsr.serve import render
from cfnsr.serve.limits import Limits
from cfnsr.serve.uploads import Clips

logger = logging.getLogger(__name__)

_WAITING = 20  # visitors in the queue, at most
# s; what was uploaded and never shown. Clips that are shown are deleted with their visitor, and until then the longest
# queue must not outlive them.
_SWEEP, _AGE = 60, 86_400
_HERE = Path(__file__).parent
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")


def serve(predictor: Predictor, limits: Limits, host: str, port: int) -> None:
    """Serve the page until the process is told to stop.

    Raises:
        InputError: somebody else has begun to listen there meanwhile.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    page = build_page(predictor, limits)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=limits.max_bytes,
            css_paths=_HERE / "page.css",
            theme=_theme(),
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
        )
        print(f"open http://{host}:{port} in a browser; Ctrl+C ends it", flush=True)
        stopped.wait()
    except OSError as error:
        if not str(error).startswith("Cannot find empty port"):  # Gradio's words, without a number
            raise
        raise _taken(host, port, os.strerror(errno.EADDRINUSE)) from None
    finally:
        page.close(verbose=False)


def build_page(predictor: Predictor, limits: Limits) -> gr.Blocks:
    """The page; its visitors take turns."""
    clips = Clips()

    welcome = render.welcome(limits.max_megabytes, limits.max_seconds)
    hidden = gr.update(visible=False)

    async def show(clip: str, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        with clips.kept(Path(clip)):
            try:
                return await asyncio.to_thread(_results, predictor, Path(clip), limits, progress)
            except InputError as error:
                return render.problem(str(error)), "", "", hidden
            except Exception as error:  # a fault of ours with one clip; the visitor can go on with another
                logger.exception("%s can't be used", clip)
                return render.problem(f"this clip can't be used ({type(error).__name__})"), "", "", hidden

    # Whatever says who has a clip runs in the event loop itself, as `Clips` asks: hence the `async`.
    async def arrive(clip: str, request: gr.Request) -> None:
        clips.open(request.session_hash, Path(clip))

    async def clear(request: gr.Request) -> tuple[Any, ...]:
        clips.close(request.session_hash)
        return welcome, "", "", hidden

    async def leave(request: gr.Request) -> None:
        clips.close(request.session_hash)

    with gr.Blocks(title="CFN-SR", analytics_enabled=False, delete_cache=(_SWEEP, _AGE)) as page:
        gr.HTML(
            "<h1>What emotion does this clip show?</h1><p>A network looks at the face, listens to the voice, and says "
            "what it makes of both.</p>",
            elem_id="heading",
        )
        with gr.Row(equal_height=False, elem_id="columns"):
            with gr.Column(min_width=340):
                player = gr.Video(
                    show_label=False,
                    sources=["upload", "webcam"],
                    include_audio=True,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    elem_id="player",
                )
                over_time = gr.HTML(js_on_load=(_HERE / "page.js").read_text(), elem_id="over-time")
                csv = gr.DownloadButton("Download the timeline as CSV", visible=False, elem_id="csv")
            with gr.Column(min_width=340):
                answer = gr.HTML(welcome, elem_id="answer")
                details = gr.HTML(elem_id="details")
        gr.HTML(render.footer(predictor.recipe.synthetic), elem_id="ethics")
        outputs = [answer, over_time, details, csv]
        arrived = [player.upload, player.stop_recording]
        # Before its turn comes: the same clip of another visitor, who leaves meanwhile, must not go with them.
        gr.on(arrived, arrive, player, None, queue=False, api_visibility="private")
        gr.on(arrived, show, player, outputs, show_progress_on=answer, api_visibility="private")
        player.clear(clear, None, outputs, queue=False, api_visibility="private")
        page.unload(leave)
    page.queue(max_size=_WAITING, default_concurrency_limit=1)
    return page


def _results(predictor: Predictor, clip: Path, limits: Limits, progress: gr.Progress) -> tuple[Any, ...]:
    extent = limits.check(clip)

    def watch(moment: Moment) -> None:
        share = min(moment.end / extent.seconds, 1.0) if extent.seconds else 0.0
        progress(share, desc=f"{clock(moment.end)} of {clock(extent.seconds)}")

    progress(0.0, desc="looking and listening")
    explanation = predictor.explain(clip, watch=watch)
    table = clip.with_name(f"{clip.stem}.timeline.csv")
    with timeline_file(table, predictor.recipe.labels) as write:
        write(explanation.prediction)
    return (
        render.headline(explanation.prediction),
        render.timeline(explanation.prediction),
        render.details(explanation),
        gr.update(value=str(table), visible=True),
    )


def _theme() -> gr.themes.Base:
    """Fonts of the system: the page asks no other server for anything."""
    theme = gr.themes.Soft(font=_FONTS, font_mono=("ui-monospace", "monospace"), radius_size="lg")
    return theme.set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
    )


def check_address(host: str, port: int) -> None:
    """Refuse an address that can't be listened on, before a model is loaded for it.

    Raises:
        InputError: it is taken, or is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise _taken(host, port, reason) from None


def _taken(host: str, port: int, reason: str) -> InputError:
    return InputError(f"{host}:{port} can't be listened on ({reason}); choose another --port or --host.")
