"""The web page of `cfnsr serve`. It needs Gradio, from the extra `demo`."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cfnsr.errors import InputError
from cfnsr.predict import Moment, Predictor
from cfnsr.predict.show.palette import clock
from cfnsr.predict.show.tables import timeline_csv
from cfnsr.serve import render
from cfnsr.serve.gate import OwnNamesOnly, own_names
from cfnsr.serve.limits import ServerLimits
from cfnsr.serve.uploads import Uploads

logger = logging.getLogger(__name__)

# What the page itself asks for. Gradio has more, such as a proxy for other addresses and a converter of recordings.
_PATHS = re.compile(
    r"/|/config|/theme\.css|/manifest\.json|/favicon\.ico|/(assets|static|svelte)/.*|/gradio_api/"
    r"(upload|upload_progress|startup-events|run/predict|queue/(join|data)|heartbeat/\w+|cancel|reset|file=/.*)"
)
_FOLDER = Path(__file__).parent
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")


def serve(predictor: Predictor, limits: ServerLimits, uploads: Uploads, host: str, port: int) -> None:
    """Serve the page until SIGINT or SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    page = build_page(predictor, limits, uploads)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=limits.max_bytes,
            app_kwargs={
                "lifespan": uploads.swept,
                "middleware": [Middleware(OwnNamesOnly, {*own_names(), host.lower()}), Middleware(_OwnPathsOnly)],
            },
            css_paths=_FOLDER / "page.css",
            theme=_theme(),
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
        )
        print(f"open http://{host}:{port} in a browser; press Ctrl+C to stop", flush=True)
        stopped.wait()
    finally:
        page.close(verbose=False)


def build_page(predictor: Predictor, limits: ServerLimits, uploads: Uploads) -> gr.Blocks:
    """Return the page, which processes one clip at a time."""
    welcome = render.welcome(limits.max_megabytes, limits.max_seconds)
    hidden = gr.update(visible=False)

    # `async`, because `Uploads` belongs to the event loop.
    async def show(upload: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        try:
            clip = uploads.open(request.session_hash, upload)
            with uploads.keep(clip):
                return await asyncio.to_thread(_results, predictor, clip.path, limits, progress)
        except InputError as error:
            return render.problem(str(error)), "", "", hidden
        except Exception as error:  # a bug must not end the page for the visitor
            logger.exception("%s can't be processed", upload)
            return render.problem(f"this clip can't be processed ({type(error).__name__})"), "", "", hidden

    async def arrive(upload: str | None, request: gr.Request) -> None:
        with suppress(InputError):  # which `show` reports
            uploads.open(request.session_hash, upload)

    async def clear(request: gr.Request) -> tuple[Any, ...]:
        uploads.close(request.session_hash)
        return welcome, "", "", hidden

    async def leave(request: gr.Request) -> None:
        uploads.close(request.session_hash)

    with gr.Blocks(title="CFN-SR", analytics_enabled=False) as page:
        gr.HTML(
            "<h1>What emotion does this clip show?</h1><p>A neural network watches the face, listens to the voice, and "
            "combines the two.</p>",
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
                player.async_move_resource_to_block_cache = _as_it_is  # type: ignore[assignment,method-assign]
                over_time = gr.HTML(js_on_load=(_FOLDER / "page.js").read_text(), elem_id="over-time")
                csv = gr.DownloadButton("Download timeline (CSV)", visible=False, elem_id="csv")
            with gr.Column(min_width=340):
                answer = gr.HTML(welcome, elem_id="answer")
                details = gr.HTML(elem_id="details")
        gr.HTML(render.footer(predictor.recipe.note), elem_id="ethics")
        outputs = [answer, over_time, details, csv]
        arrived = [player.upload, player.stop_recording]
        # Not queued: the clip must be kept at once, because another visitor with the same clip may leave.
        gr.on(arrived, arrive, player, None, queue=False, api_visibility="private")
        gr.on(arrived, show, player, outputs, show_progress_on=answer, api_visibility="private")
        player.clear(clear, None, outputs, queue=False, api_visibility="private")
        page.unload(leave)
    page.queue(max_size=limits.max_waiting, default_concurrency_limit=1, api_open=False)
    return page


async def _as_it_is(path: str | Path | None) -> str | None:
    """In place of Gradio's method, which fetches http addresses. `Uploads` checks the path."""
    return None if path is None else str(path)


class _OwnPathsOnly:
    """ASGI middleware that answers only `_PATHS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _PATHS.fullmatch(scope["path"]):
            await PlainTextResponse("not found", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _results(predictor: Predictor, clip: Path, limits: ServerLimits, progress: gr.Progress) -> tuple[Any, ...]:
    extent = limits.check(clip)

    def watch(_: Path, moment: Moment) -> None:
        share = min(moment.end / extent.seconds, 1.0) if extent.seconds else 0.0
        progress(share, desc=f"{clock(moment.end)} of {clock(extent.seconds)}")

    progress(0.0, desc="Starting")
    explanation = predictor.explain(clip, watch=watch)
    table = clip.with_name(f"{clip.stem}.timeline.csv")
    with timeline_csv(table, predictor.recipe.labels) as write:
        write(explanation.prediction)
    return (
        render.headline(explanation.prediction),
        render.timeline(explanation.prediction),
        render.details(explanation),
        gr.update(value=str(table), visible=True),
    )


def _theme() -> gr.themes.Base:
    """System fonts, so that the page loads nothing from other servers."""
    theme = gr.themes.Soft(font=_FONTS, font_mono=("ui-monospace", "monospace"), radius_size="lg")
    return theme.set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
    )


def check_address(host: str, port: int) -> None:
    """Check that an address is free, before a model is loaded.

    Raises:
        InputError: the address is in use, or does not belong to this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise InputError(f"{host}:{port} can't be used ({reason}); choose another --port or --host.") from None
