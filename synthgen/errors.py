"""Errors that a user can mend; the command line prints them as one line and exits with status 2."""


class SynthgenError(Exception):
    """A mistake in what the user gave. The text names the field or file, the value, and the fix."""


class SpecError(SynthgenError):
    """A spec, a space or a preset that cannot be used as written."""


class AssetError(SynthgenError):
    """A MakeHuman asset or ``.target`` file that is missing or broken."""


class DatasetError(SynthgenError):
    """A dataset folder that does not hold what it should, or cannot be written."""


class EngineError(SynthgenError):
    """A rendering engine that cannot run here."""


class ClusterError(SynthgenError):
    """A scheduler or its workers that cannot be used."""


class ScanError(SynthgenError):
    """A real scan, its landmarks or its table that cannot be used as they are."""


class RemoteError(SynthgenError):
    """The Hugging Face Hub, or a repository, token or network on the way to it, that cannot be used."""
