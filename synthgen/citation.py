"""The citations that cards request."""

from importlib.resources import files
from string import Template

import synthgen


def citation() -> str:
    """Return BibTeX entries of the method, this version of synthgen, and the models that it uses."""
    text = files("synthgen").joinpath("citation.txt").read_text(encoding="utf-8")
    return Template(text).substitute(version=synthgen.__version__).rstrip()
