"""The device that networks run on: CPU or GPU, precision, and the number of processes."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from synthgen.errors import SynthgenError
from synthgen.training.streaming.batches import ALONE, Ranks

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Device:
    """A CPU or GPU, and how networks are computed on it."""

    name: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:N``."""
    bf16: bool = False
    """Compute layers in bfloat16; weights, loss and optimizer stay in float32."""
    channels_last: bool = True
    """Use the channels-last memory format: twice as fast on CPUs, and what tensor cores want."""
    compile: bool = False
    """Compile the network with torch.compile; the first steps take a minute."""
    threads: int = 1
    """Number of threads that prefetch batches; 0 makes each batch when it is needed."""
    ranks: Ranks = ALONE

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.name.startswith("cuda")

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in its memory format."""
        model = model.to(self.name)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        return model

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap a placed network for several processes and compile it, where requested."""
        if self.ranks.count > 1:
            model = DistributedDataParallel(model)
        return cast("nn.Module", torch.compile(model)) if self.compile else model

    def images(self, images: Tensor) -> Tensor:
        """Return images as input of the network, float32 on the device."""
        images = self.tensor(images).float()
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    def tensor(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device asynchronously."""
        return tensor.pin_memory().to(self.name, non_blocking=True) if self.on_gpu else tensor

    def precision(self) -> torch.autocast:
        """Return the autocast context of the layers."""
        return torch.autocast(self.name.split(":")[0], torch.bfloat16, enabled=self.bf16)

    def same_everywhere(self, text: str) -> bool:
        """Return whether all processes have the same text."""
        if self.ranks.count == 1:
            return True
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        lowest = torch.tensor(digest, device=self.name)
        highest = lowest.clone()
        torch.distributed.all_reduce(lowest, torch.distributed.ReduceOp.MIN)
        torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
        return bool(lowest == highest)

    def total(self, number: Tensor) -> float:
        """Return the sum of a number over all processes."""
        if self.ranks.count > 1:
            torch.distributed.all_reduce(number)
        return float(number)


def find_device(
    device: str = "auto", precision: Precision = "auto", *, compile_model: bool = False, threads: int | None = None
) -> Device:
    """Return a device of this machine; under ``torchrun``, that of this process.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Compute precision of the layers; ``auto`` is bfloat16 on a GPU that supports it, else float32.
        compile_model: Compile the network; worth its minute in long trainings on a GPU.
        threads: Threads that prefetch batches; default: 1 on a CPU, half of the cores for a GPU.

    Raises:
        SynthgenError: There is no such device, or no compiler.

    """
    ranks = Ranks(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    kind, _, number = device.partition(":")
    if kind not in {"cpu", "cuda"} or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise SynthgenError(f"--device: value {device}; give auto, cpu, cuda or cuda:0")
    if kind == "cuda":
        index = int(number or os.environ.get("LOCAL_RANK", "0"))
        if index >= gpus:
            raise SynthgenError(f"--device: value {device}; torch finds {gpus} GPUs here, give cpu or another number")
        device = f"cuda:{index}"
        threads = max((os.cpu_count() or 2) // (2 * ranks.count), 1) if threads is None else threads
    if compile_model:
        _check_compiler(kind)
    bf16 = kind == "cuda" and torch.cuda.is_bf16_supported() if precision == "auto" else precision == "bfloat16"
    return Device(device, bf16, compile=compile_model, threads=1 if threads is None else threads, ranks=ranks)


def _check_compiler(kind: str) -> None:
    """Refuse early: torch would notice a missing compiler only after the first batch."""
    if kind == "cuda" and importlib.util.find_spec("triton") is None:
        raise SynthgenError("--compile: needs the package triton for a GPU; install it, or leave the option out")
    compiler = os.environ.get("CXX", "g++")
    if kind == "cpu" and shutil.which(compiler) is None:
        fix = "install one, name it by CXX, or leave the option out"
        raise SynthgenError(f"--compile: needs a C++ compiler, and {compiler} is not found; {fix}")


@contextlib.contextmanager
def processes(device: Device) -> Iterator[None]:
    """Join the process group of a device, if there are several processes, while the block runs."""
    if device.ranks.count == 1:
        yield
        return
    if device.on_gpu:
        torch.cuda.set_device(device.name)
    torch.distributed.init_process_group("nccl" if device.on_gpu else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
