"""Networks: trained on renderings, fine-tuned on real scans, loaded for use; and data for training loops of others."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synthgen.errors import need

if TYPE_CHECKING:
    from synthgen.api.network import Network
    from synthgen.datasets.dataset import Dataset
    from synthgen.specs.spec import ResolvedSpec
    from synthgen.training.loop.sample_origin import Origin
    from synthgen.training.loop.torch_dataset import LandmarkDataset


def load_network(
    network: str | Path,
    *,
    depth: str | Path | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
) -> "Network":
    """Load a trained network.

    Args:
        network: A folder that `train` or `finetune` wrote, or ``hf://owner/name[@revision]``.
        depth: A second network, on depth, for the third coordinate, where the first sees silhouettes alone.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        cache: Folder that keeps what is fetched; ``$SYNTHGEN_CACHE`` or the user's cache if None.

    Returns:
        The network: ``.landmarks`` holds the K names, ``.predict(path, side=…)`` returns the landmarks of a scan:
        ``.points_mm`` (K, 3) LPS mm, or ``.points_px`` (K, 2) for a 2D picture, and ``.uncertainty`` (K,).

    Raises:
        SynthgenError: There is no finished network, it is damaged, it cannot be downloaded, or there is no such device.

    Example:
        ``synthgen.load_network("runs/hand").predict("scan.nii.gz", side="left").points_mm``

    """
    need("torch", "safetensors")
    from synthgen.api.network import Network
    from synthgen.training.experiments.predict import load_networks
    from synthgen.training.loop.device import find_device
    from synthgen.training.scans.child_reader import ChildReader

    run_on, second = find_device(device), network_folder(depth, cache) if depth else None
    return Network(load_networks(network_folder(network, cache), second, run_on), ChildReader())


def network_folder(network: str | Path, cache: str | Path | None) -> Path:
    """Return the folder of a network, fetched first where it is on the Hub."""
    from synthgen.api.log import LogListener
    from synthgen.remote.address import is_remote, parse_address

    if not is_remote(str(network)):
        return Path(network)
    from synthgen.training.hub.fetch import fetch_model

    return fetch_model(parse_address(str(network)), LogListener(), cache=Path(cache) if cache else None)


def train(
    data: str | Path,
    out: str | Path,
    *,
    config: str | Path = "paper_hand",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    cache: str | Path | None = None,
) -> "Network":
    """Train a network on a dataset, as ``synthgen train`` does. Call it again to resume; a finished one is loaded.

    Args:
        data: As in `open_dataset`.
        out: Folder of the network; holds its checkpoint and the losses in ``log.csv``.
        config: Training config: a YAML file, or a built-in name such as ``quick_hand`` or ``quick_heatmap``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Compute precision of the layers; ``auto`` is bfloat16 on a GPU that has it, else float32.
        cache: As in `open_dataset`.

    Returns:
        The network, as `load_network` returns it.

    Raises:
        SynthgenError: The dataset or the config cannot be used, the folder holds another training, or the loss
            diverges.

    Example:
        ``synthgen.train("hands", "runs/hand", config="quick_hand")``

    """
    need("torch", "safetensors")
    from synthgen.api.data import open_dataset
    from synthgen.api.log import LogListener
    from synthgen.training.loop.config import load_config
    from synthgen.training.loop.device import find_device, processes
    from synthgen.training.loop.job import Keeping, dataset_job
    from synthgen.training.loop.train import train as run

    run_on = find_device(device, precision)
    job = dataset_job(open_dataset(data, cache=cache), load_config(config), run_on.ranks)
    with processes(run_on):
        run(job, run_on, Keeping(Path(out)), LogListener())
    return load_network(out, device=device)


def finetune(
    scans: str | Path,
    out: str | Path,
    *,
    init: str | Path | None = None,
    folds: str = "3",
    config: str | Path | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
) -> "Network":
    """Fine-tune a network on real scans under a cross-validation, and once more on all of them, for use.

    Args:
        scans: Scan set that `build_scan_set` wrote.
        out: Folder of the network; ``results.json`` holds the errors of the cross-validation.
        init: Network to start from: as in `load_network`; random weights if None.
        folds: Number of folds, cut by subject, or ``leave-one-out``.
        config: Training config of the fine-tuning; the paper's 700 epochs if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        cache: As in `load_network`.

    Returns:
        The network trained on all scans, as `load_network` returns it.

    Raises:
        SynthgenError: The scans, the network or the config cannot be used.

    Example:
        ``synthgen.finetune("scans.h5", "runs/hand-ft", init="runs/hand")``

    """
    need("torch", "safetensors", "h5py")
    from synthgen.api.log import LogListener
    from synthgen.training.evaluation.folds import parse_folds
    from synthgen.training.experiments.cross_validation import Request
    from synthgen.training.experiments.cross_validation import finetune as run
    from synthgen.training.experiments.tuning import tuning_of
    from synthgen.training.loop.device import find_device

    begun = network_folder(init, cache) if init else None
    tuning = tuning_of(Path(scans), find_device(device), begun, config)
    run(Request(tuning, parse_folds(folds), Path(out), begun), LogListener())
    return load_network(out, device=device)


def torch_dataset(
    data: "str | Path | Dataset | ResolvedSpec",
    *,
    split: Literal["train", "validation", "test"] = "train",
    input: Literal["mask", "depth"] = "mask",  # noqa: A002 (the word of the training config)
    batch_size: int | None = None,
    artefacts: bool = True,
    augmentation: Mapping[str, float] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    workers: int | None = None,
    cache: str | Path | None = None,
) -> "LandmarkDataset":
    """Return samples as tensors, for a PyTorch training loop of your own: a `torch.utils.data.IterableDataset`.

    The order of an epoch is a permutation that depends on ``seed`` and the epoch alone; call ``set_epoch(epoch)``
    before each. With the same seed, order and tensors are those of `train`. For ready batches, the fast way, give
    ``batch_size`` here and ``batch_size=None`` to the DataLoader; without it single samples come, to be collated.
    ``num_workers`` may be any number, except for a spec, which is rendered by processes of its own.

    Args:
        data: As in `open_dataset`; an open dataset; or a spec from `load_spec`, whose samples are rendered on demand by
            the raster engine and stored nowhere.
        split: ``train``, ``validation`` or ``test``.
        input: ``mask``, or normalized ``depth``.
        batch_size: Samples of a batch on each rank; None gives single samples.
        artefacts: Apply the spec's artefacts, drawn again for each epoch.
        augmentation: Random moves of image and landmarks: ``{"rotation_deg": 10, "scale": 0.1, "shift": 0.05}``.
        shuffle: False gives the stored order.
        seed: Of order and augmentation.
        rank: This process among those that train together; ``torch.distributed`` is asked if None.
        world_size: How many those are.
        workers: Maximum number of rendering processes, for a spec; all cores if None.
        cache: As in `open_dataset`.

    Returns:
        The dataset, with ``len()``. An item is a dict of tensors: ``image`` (1, H, W), ``target`` (K, 2 or 3),
        ``landmarks_px`` (K, 2), ``visible`` (K,), ``index``, each of them with N in front for a batch of N samples.
        ``help(type(dataset))`` and docs/python.md say what they hold.

    Raises:
        SynthgenError: The data cannot be used, or an option is wrong.

    Example:
        ``next(iter(synthgen.torch_dataset("hands", batch_size=100)))["image"].shape``

    """
    from synthgen.errors import SynthgenError
    from synthgen.training.loop.sample_origin import Reading, moves
    from synthgen.training.loop.torch_dataset import LandmarkDataset
    from synthgen.training.streaming.batches import Ranks

    if (rank is None) != (world_size is None):
        raise SynthgenError(f"rank: value {rank}; give rank and world_size together, or neither")
    ranks = None if rank is None or world_size is None else Ranks(rank, world_size)
    reading = Reading(split, input, artefacts, moves(augmentation), batch_size, seed, shuffle, ranks)
    return LandmarkDataset(_origin(data, workers, cache), reading)


def _origin(data: "str | Path | Dataset | ResolvedSpec", workers: int | None, cache: str | Path | None) -> "Origin":
    from synthgen.api.data import open_dataset
    from synthgen.api.on_demand import SpecRenderer
    from synthgen.api.rendering import load_spec
    from synthgen.specs.spec import Spec
    from synthgen.training.loop.sample_origin import Rendered, Stored

    if isinstance(data, Spec):
        from synthgen.generator.prepare import prepare_scene

        return Rendered(SpecRenderer(prepare_scene(load_spec(data, engine="raster")).spec, workers))
    return Stored(open_dataset(data, cache=cache) if isinstance(data, str | Path) else data)
