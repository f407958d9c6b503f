"""A trained network, and the landmarks that it finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.geometry import Floats

if TYPE_CHECKING:
    from PIL.Image import Image

    from synthgen.training.experiments.predict import Found, Networks
    from synthgen.training.scans.child_reader import ChildReader


@dataclass(frozen=True)
class Prediction:
    """The landmarks of one scan: K points."""

    landmarks: tuple[str, ...]
    """Names, in the order of the points."""
    points_mm: Floats | None
    """(K, 3) LPS mm of the scan; None for a 2D picture."""
    points_px: Floats | None
    """(K, 2) continuous pixels of a 2D picture; None for a scan."""
    uncertainty: Floats
    """(K,) standard deviation over slightly changed views, in the image plane: mm, or pixels of the network's patch
    where the source has no spacing. It is not calibrated."""
    depth_from: str
    """Where the third coordinate comes from."""
    _found: "Found"

    def save(self, path: str | Path) -> None:
        """Write the landmarks as Slicer markups (``.mrk.json``), CSV or JSON, by the file's name.

        Raises:
            SynthgenError: The name has another ending, or markups are asked for of a 2D picture.

        """
        from synthgen.training.experiments.predict import write_found

        write_found(self._found, Path(path))

    def picture(self) -> "Image":
        """Return the network's patch of the scan with the landmarks, as a Pillow image."""
        from synthgen.training.experiments.predict import picture

        return picture(self._found)


@dataclass(frozen=True)
class Network:
    """A trained network, ready to find landmarks."""

    _networks: "Networks"
    _reader: "ChildReader"
    """The process that reads scans: one for all that this network is used on."""

    @property
    def landmarks(self) -> tuple[str, ...]:
        """K names, in the order of every prediction."""
        return self._networks.main.domain.landmarks

    def predict(
        self, path: str | Path, *, side: str | None = None, up: str | None = None, viewed_from: str | None = None
    ) -> Prediction:
        """Find the landmarks of a scan.

        Args:
            path: NIfTI, NRRD, MetaImage, PNG or JPEG file, or a folder of a DICOM series.
            side: ``left`` or ``right``: which hand. Not for bodies.
            up: Patient direction that is up in the image: L, R, A, P, S or I; found from the scan if None.
            viewed_from: Patient direction of the viewer, likewise.

        Returns:
            The landmarks in the scan's own LPS mm, or in pixels of a picture.

        Raises:
            SynthgenError: The scan cannot be read, or cannot be converted to the network's domain.

        """
        from synthgen.training.experiments.predict import find_landmarks
        from synthgen.training.scans.table import settings_of

        settings = settings_of({"side": side, "up": up, "viewed_from": viewed_from})
        found = find_landmarks(Path(path), settings, self._networks, self._reader)
        flat = found.scan.depth_mm is None
        points = found.source[:, :2] if flat else found.source
        return Prediction(
            found.names,
            None if flat else points,
            points if flat else None,
            found.spread_mm,
            found.depth_from,
            found,
        )
