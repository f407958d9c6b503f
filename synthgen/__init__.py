"""synthgen: synthetic training data for anatomical landmark detection.

The names below are the public interface; ``docs/python.md`` has an example of each. They are imported when they are
first used, so ``import synthgen`` itself loads no other package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthgen.api.data import open_dataset, pull, push, verify
    from synthgen.api.rendering import draw, load_spec, render
    from synthgen.api.scans import build_scan_set, open_scan_set
    from synthgen.api.training import finetune, load_network, torch_dataset, train
    from synthgen.errors import SynthgenError

__version__ = "0.1.0"

__all__ = [
    "SynthgenError",
    "__version__",
    "build_scan_set",
    "draw",
    "finetune",
    "load_network",
    "load_spec",
    "open_dataset",
    "open_scan_set",
    "pull",
    "push",
    "render",
    "torch_dataset",
    "train",
    "verify",
]

_MODULES = {
    "SynthgenError": "synthgen.errors",
    "build_scan_set": "synthgen.api.scans",
    "draw": "synthgen.api.rendering",
    "finetune": "synthgen.api.training",
    "load_network": "synthgen.api.training",
    "load_spec": "synthgen.api.rendering",
    "open_dataset": "synthgen.api.data",
    "open_scan_set": "synthgen.api.scans",
    "pull": "synthgen.api.data",
    "push": "synthgen.api.data",
    "render": "synthgen.api.rendering",
    "torch_dataset": "synthgen.api.training",
    "train": "synthgen.api.training",
    "verify": "synthgen.api.data",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
