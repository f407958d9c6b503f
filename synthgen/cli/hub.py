"""The commands for the Hugging Face Hub: ``synthgen push``, ``pull`` and ``verify``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.cli.options import PUBLISH
from synthgen.cli.terminal import terminal, transfer_bar

if TYPE_CHECKING:
    from synthgen.generator.dataset.verify import VerifyReport


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    command = partial(app.command, rich_help_panel=PUBLISH)
    command(
        epilog="Examples: synthgen push data/hand --repo user/synthgen-hand --tag v1.0.0 · "
        "synthgen push runs/hand-ft --repo user/hand-landmarks --private --dry-run"
    )(push)
    command(
        epilog="Examples: synthgen pull user/synthgen-hand --out data/hand · "
        "synthgen pull user/synthgen-hand@v1.0.0 --split validation"
    )(pull)
    command(
        epilog="Examples: synthgen verify data/hand --rerender 20 · "
        "synthgen verify hf://datasets/user/synthgen-hand@v1.0.0"
    )(verify)


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Sealed dataset folder, or folder of a network.")],
    repo: Annotated[str, typer.Option("--repo", help="Repository, owner/name; created if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
    tag: Annotated[str | None, typer.Option("--tag", help="Tag for the commit, for example v1.0.0.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch. Default: main.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and list what would be uploaded; write nothing.")
    ] = False,
) -> None:
    """Publish a dataset or a network on the Hugging Face Hub. Run the same command again to resume."""
    from synthgen.api.publishing import push_folder
    from synthgen.quantities import byte_size
    from synthgen.remote.publish import PushOptions

    with terminal(transfer_bar, in_bytes=True) as listener:
        report = push_folder(folder, (repo, revision), PushOptions(private, tag, dry_run), listener)
    told = f"{len(report.sent)} files of {byte_size(report.sent_bytes)} {'to upload' if dry_run else 'uploaded'}, "
    told += f"{report.unchanged} unchanged"
    if report.deleted:
        told += f", {len(report.deleted)} {'to remove' if dry_run else 'removed'}"
    if dry_run:
        for path in report.sent:
            typer.echo(f"upload  {path}")
        for path in report.deleted:
            typer.echo(f"remove  {path}")
    typer.echo(f"{report.address}: {told}" + (f"; tag {tag}" if tag and not dry_run else ""))


def pull(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="Repository: owner/name, or hf://datasets/owner/name.")],
    out: Annotated[Path | None, typer.Option("--out", help="Dataset folder. Default: data/NAME.")] = None,
    shards: Annotated[str | None, typer.Option("--shards", help="Only these shards, for example 0-3 or 3,7-9.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only train, validation or test.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit. Default: main.")] = None,
) -> None:
    """Download a dataset, or a part of it, from the Hugging Face Hub. Run the same command again to resume."""
    from synthgen.generator.hub.pull import PullOptions
    from synthgen.generator.hub.pull import pull as pull_dataset
    from synthgen.quantities import byte_size
    from synthgen.remote.address import parse_address

    address = parse_address(repo, revision=revision)
    root = out or Path("data") / address.repo.split("/")[1]
    with terminal(transfer_bar, in_bytes=True) as listener:
        report = pull_dataset(address, root, PullOptions(shards, split), listener)
    state = "complete" if report.sealed else f"{report.shards} of {report.of_shards} shards"
    typer.echo(f"{root}: {state}; {report.files} files of {byte_size(report.bytes)} downloaded from {report.address}")


def verify(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Dataset folder, or hf://datasets/owner/name.")],
    rerender: Annotated[int, typer.Option("--rerender", min=0, help="Render N random samples again and compare.")] = 0,
    engine: Annotated[
        str | None, typer.Option("--engine", help="Engine for --rerender: blender or raster. Default: the dataset's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed that selects the samples of --rerender.")] = 0,
) -> None:
    """Check every checksum, archive, sample, label and count of a dataset; exit status 1 if a check fails."""
    from synthgen.generator.dataset.verify import VerifyOptions, verify_dataset
    from synthgen.remote.address import is_remote, parse_address

    options = VerifyOptions(rerender, engine, seed)
    with terminal(transfer_bar, in_bytes=True) as listener:
        if is_remote(folder):
            from synthgen.generator.hub.pull import verify_remote

            report = verify_remote(parse_address(folder), options, listener)
        else:
            report = verify_dataset(Path(folder), options, listener)
    _tell(folder, report)
    raise typer.Exit(int(bool(report.problems)))


def _tell(folder: str, report: "VerifyReport") -> None:
    from synthgen.quantities import byte_size

    for problem in report.problems:
        typer.echo(f"problem: {problem}", err=True)
    if report.rerendered is not None:
        typer.echo(report.rerendered)
    found = f"problems: {len(report.problems)}" if report.problems else "sound"
    typer.echo(f"{folder}: {found}; {report.samples:,} samples in {report.shards} shards of {byte_size(report.bytes)}")
