"""Specs, single samples and whole datasets made from them."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from synthgen.generator.runs.progress import RunReport
    from synthgen.specs.spec import ResolvedSpec
    from synthgen.storage.sample import Sample


def load_spec(
    spec: "str | Path | ResolvedSpec", *, count: int | None = None, seed: int | None = None, engine: str | None = None
) -> "ResolvedSpec":
    """Return a spec with every name in it replaced by its content.

    Args:
        spec: Path of a YAML file; a built-in name (``hand``, ``body``, ``paper_hand``, ``paper_body``); or a spec that
            is loaded already.
        count: Total number of samples, instead of the spec's.
        seed: Instead of the spec's; 0 is a valid seed.
        engine: ``blender`` or ``raster``, instead of the spec's.

    Raises:
        SynthgenError: There is no such file or name, or a value is wrong.

    Example:
        ``synthgen.load_spec("hand", count=500).image.width``

    """
    from synthgen.specs.files import load_spec as load
    from synthgen.specs.files import with_overrides

    overrides = {"count": count, "seed": seed, "engine": engine}
    return load(spec, overrides) if isinstance(spec, str | Path) else with_overrides(spec, overrides)


@overload
def draw(spec: "str | Path | ResolvedSpec", index: int, *, engine: str = "raster") -> "Sample": ...
@overload
def draw(spec: "str | Path | ResolvedSpec", index: Iterable[int], *, engine: str = "raster") -> "Iterator[Sample]": ...
def draw(
    spec: "str | Path | ResolvedSpec", index: int | Iterable[int], *, engine: str = "raster"
) -> "Sample | Iterator[Sample]":
    """Render a sample of a spec, or several, and store nothing.

    A sample is a function of the spec, its seed and the index, so it equals the one in a rendered dataset. The first
    call on a machine unpacks the body models and compiles, which takes about a minute and is logged.

    Args:
        spec: As in `load_spec`.
        index: Index of the sample, from 0; or several, such as ``range(100)``, for which the models are loaded once.
        engine: ``raster``, or ``blender`` for the reference, whose pixels are the same.

    Returns:
        The sample: ``.mask`` (H, W) bool; ``.depth_mm`` (H, W) float32, camera-frame z, infinite in the background;
        ``.landmarks_px`` (K, 2) continuous pixels; ``.landmarks_mm`` (K, 3) camera frame (x right, y down, z away from
        the camera); ``.visible`` (K,) bool; ``.recipe``, every number that was drawn. For several indices an iterator
        that renders as it goes.

    Raises:
        SynthgenError: The spec cannot be rendered, or the engine cannot run here.

    Example:
        ``synthgen.draw("hand", 17).landmarks_px``

    """
    from synthgen.errors import SpecError
    from synthgen.generator.engines.availability import check_engine

    check_engine(engine)
    indices = [index] if isinstance(index, int) else index
    if isinstance(index, int) and index < 0:
        raise SpecError(f"index: value {index}; give 0 or more")
    samples = _samples(load_spec(spec), indices, engine)
    if not isinstance(index, int):
        return samples
    with closing(samples):
        return next(samples)


def _samples(spec: "ResolvedSpec", indices: Iterable[int], engine: str) -> "Generator[Sample, None, None]":
    from synthgen.generator.prepare import prepare_scene

    scene = prepare_scene(spec)
    from synthgen.generator.pipeline import with_engine  # after the baking

    with closing(with_engine(scene, engine)) as pipeline:
        yield from pipeline.samples(indices)


def render(
    spec: "str | Path | ResolvedSpec",
    out: str | Path,
    *,
    workers: int | None = None,
    shards: str | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> "RunReport":
    """Render a spec to a dataset folder, as ``synthgen render`` does. Call it again to resume.

    Worker processes import the program that calls this: in a script, call it below ``if __name__ == "__main__":``.

    Args:
        spec: As in `load_spec`.
        out: Dataset folder; a complete dataset of the same spec is left alone.
        workers: Maximum number of worker processes (reduced if cores or memory do not suffice); all cores if None.
        shards: Only these, for example ``"0-15"`` or ``"3,7-9"``.
        scheduler: Address of a Dask scheduler, ``tcp://host:port``, instead of local workers.
        overwrite: Delete the dataset in ``out`` first.

    Returns:
        What was done: ``.samples`` rendered now, ``.per_s``, ``.missing`` shards, and whether the dataset is
        ``.sealed``, which means complete.

    Raises:
        SynthgenError: The run cannot start, or a shard failed; the other shards are kept.
        KeyboardInterrupt: Ctrl-C; finished shards are kept.

    Example:
        ``synthgen.render(synthgen.load_spec("hand", count=500), "hands", workers=2)``

    """
    from synthgen.api.log import LogListener
    from synthgen.errors import DatasetError
    from synthgen.generator.prepare import prepare_scene
    from synthgen.generator.runs.options import RunOptions
    from synthgen.generator.runs.run import run

    resolved = prepare_scene(load_spec(spec)).spec
    options = RunOptions(Path(out), workers, scheduler, shards, overwrite=overwrite)
    report = run(resolved, options, LogListener())
    if report.interrupted:
        raise KeyboardInterrupt
    if report.failed:
        first = report.failed[0]
        raise DatasetError(f"{out}: {len(report.failed)} shards failed, shard {first.number} with: {first.error}; "
                           "call it again to retry them")  # fmt: skip
    return report
