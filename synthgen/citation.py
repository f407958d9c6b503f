"""What cards ask to be cited."""

from importlib.resources import files
from string import Template

import synthgen


def citation() -> str:
    """Return BibTeX of the method, of this version of the tool and of the models behind it."""
    text = files("synthgen").joinpath("citation.txt").read_text(encoding="utf-8")
    return Template(text).substitute(version=synthgen.__version__).rstrip()
