"""Progress of uploads, downloads and checks of files."""

from dataclasses import dataclass

from synthgen.progress import ProgressListener


@dataclass(frozen=True)
class Transfer:
    """The state of some work on files at one moment."""

    what: str
    """A word to display: uploading, downloading, checking."""
    files: int
    of_files: int
    bytes: int
    of_bytes: int


TransferListener = ProgressListener[Transfer]


class Meter:
    """Counts the files and bytes of one operation, and reports to a listener."""

    def __init__(self, what: str, of_files: int, of_bytes: int, listener: TransferListener) -> None:
        self._what, self._of_files, self._of_bytes = what, of_files, of_bytes
        self._listener = listener
        self._files = self._bytes = 0
        self.count(0, 0)

    def count(self, size: int, files: int = 0) -> None:
        """Add bytes and completed files."""
        self._bytes += size
        self._files += files
        self._listener.show(Transfer(self._what, self._files, self._of_files, self._bytes, self._of_bytes))
