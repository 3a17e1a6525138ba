"""`cfnsr serve`: the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cfnsr.errors import InputError

_INSTALL = "pip install -r requirements-dev.txt"


def serve(
    model: Annotated[
        str, typer.Option(help="Model: registry URI (models:/cfn-sr@challenger), folder or safetensors file.")
    ] = "models:/cfn-sr@champion",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    max_megabytes: Annotated[
        float | None, typer.Option(help="Maximum MB of a clip; default: CFNSR_MAX_MEGABYTES, or 200.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Maximum seconds of a clip; default: CFNSR_MAX_SECONDS, or 600.")
    ] = None,
    yunet: Annotated[Path | None, typer.Option(help="YuNet file, if the network was trained with YuNet.")] = None,
) -> None:
    """Serve a web page that recognises the emotion in a clip. Not for decisions about people."""
    import os

    from cfnsr.predict import Predictor
    from cfnsr.scratch import scratch_folder
    from cfnsr.serve.limits import ServerLimits
    from cfnsr.serve.uploads import Uploads

    options = {"CFNSR_MAX_MEGABYTES": max_megabytes, "CFNSR_MAX_SECONDS": max_seconds}
    chosen = {name: str(value) for name, value in options.items() if value is not None}
    limits = ServerLimits.from_environment({**os.environ, **chosen})
    with scratch_folder() as folder:
        # Gradio reads these when it is imported.
        os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED="False")
        try:
            from cfnsr.serve import page
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise InputError(f"the web page needs Gradio: run `{_INSTALL}` in the project's folder.") from None
        page.check_address(host, port)
        with Predictor.from_pretrained(model, yunet) as predictor:
            page.serve(predictor, limits, Uploads(folder), host, port)
