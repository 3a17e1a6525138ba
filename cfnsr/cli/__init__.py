"""The `cfnsr` command. Commands import their dependencies when they run, so that `--help` is fast."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from cfnsr.cli.evaluate import evaluate
from cfnsr.cli.export import export
from cfnsr.cli.predict import predict
from cfnsr.cli.serve import serve
from cfnsr.cli.table import table
from cfnsr.config.load import load_settings
from cfnsr.errors import exit_with_message
from cfnsr.files import ensure_utf8
from cfnsr.text import printable

app = typer.Typer(
    help="Audio-visual emotion recognition with CFN-SR.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(predict)
app.command()(evaluate)
app.command()(export)
app.command()(serve)
app.command()(table)

ParamsOption = Annotated[Path, typer.Option("--params", help="Settings file.")]
ProfileOption = Annotated[str | None, typer.Option(help="Profile in the settings file; default: the one it names.")]


@app.command()
def doctor(params: ParamsOption = Path("params.yaml"), profile: ProfileOption = None) -> None:
    """Check the environment: versions, GPU, codecs, disk space, data source and tracking server."""
    from cfnsr.cli.doctor import report

    report(load_settings(params, profile))


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Folder to write Actor_NN/*.mp4 to.")],
    params: ParamsOption = Path("params.yaml"),
    profile: ProfileOption = None,
) -> None:
    """Generate the synthetic sample corpus in a folder."""
    from cfnsr.corpus.sample import generate
    from cfnsr.parallel import default_workers

    dataset = load_settings(params, profile).params.dataset
    generate(folder, dataset.sample, dataset.actors, default_workers())


@app.command()
def mirror(params: ParamsOption = Path("params.yaml"), profile: ProfileOption = None) -> None:
    """Copy the archives from Zenodo to the S3 bucket of the settings."""
    from cfnsr.corpus.download.mirror import fill_mirror

    done = fill_mirror(load_settings(params, profile))
    typer.echo(f"mirror: {len(done.uploaded)} archives uploaded, {len(done.present)} already present")


@app.command()
def clips(params: ParamsOption = Path("params.yaml"), profile: ProfileOption = None) -> None:
    """List the excluded clips and files with the reason for each."""
    from cfnsr.features.cached import Features

    features = Features.load(load_settings(params, profile))
    for name, reason in sorted(features.excluded.items()):
        typer.echo(printable(f"{name}: {reason}"))
    typer.echo(f"{len(features.having('both'))} clips with face and voice, {len(features.excluded)} excluded")


@app.command()
def version() -> None:
    """Print the version."""
    from cfnsr import __version__

    typer.echo(__version__)


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit code 2."""
    ensure_utf8()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid UTF-8
    with exit_with_message():
        app()
