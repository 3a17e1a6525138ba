"""`cfnsr export`: a model as a single file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cfnsr.export.write import Exported

RUNTIMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}


def export(
    model: Annotated[
        str, typer.Argument(help="Model: registry URI (models:/cfn-sr@challenger), folder or safetensors file.")
    ] = "models:/cfn-sr@champion",
    kind: Annotated[str, typer.Option("--format", help="onnx, torch-export or safetensors.")] = "onnx",
    precision: Annotated[str, typer.Option(help="ONNX only: fp32, fp16 (half the size) or int8 (a quarter).")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="File to write; default: model.onnx, model.int8.onnx, etc.")] = None,
    check: Annotated[
        bool | None,
        typer.Option(help="Compare predictions with PyTorch on cached clips; default: for fp16 and int8."),
    ] = None,
    params: Annotated[Path, typer.Option("--params", help="Settings file, for the cached clips.")] = Path(
        "params.yaml"
    ),
    profile: Annotated[str | None, typer.Option(help="Profile of the cached clips; default: the model's.")] = None,
) -> None:
    """Export a model as an ONNX, torch.export or safetensors file that includes its preprocessing and labels."""
    from cfnsr.config.load import load_settings
    from cfnsr.export.write import EXTENSIONS, export_model
    from cfnsr.model.checkpoint import load_model
    from cfnsr.predict.find import find_weights

    network, metadata = load_model(find_weights(model))
    compare = precision != "fp32" if check is None else check
    needs_clips = compare or precision == "int8"
    settings = load_settings(params, profile or metadata.profile) if needs_clips else None
    variant = "" if precision == "fp32" else f".{precision}"
    path = out or Path(f"model{variant}{EXTENSIONS.get(kind, '')}")
    _report(export_model(network, metadata, path, kind, precision, settings, compare))  # type: ignore[arg-type]  # validated there


def _report(done: Exported) -> None:
    typer.echo(f"written:    {done.path}, {done.size / 1e6:.1f} MB")
    typer.echo(f"difference: {done.difference:.1e} of the largest logit, {RUNTIMES[done.runtime]} against PyTorch")
    if (found := done.agreement) is not None:
        typer.echo(f"accuracy:   {found.accuracy:.3f}, PyTorch {found.reference:.3f}")
        typer.echo(
            f"            the same prediction for {found.same} of {found.clips} clips of {found.speakers} speakers"
        )
        if found.doubtful:
            typer.echo("            the initial weights may have been trained on these speakers")
