"""The files of a dataset folder that both who writes it and who reads it must know."""

FORMAT, FORMAT_VERSION = "synthgen-dataset", 1
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
SPEC = "spec/spec.yaml"


def labels_path(split: str) -> str:
    """Return the path of a split's labels."""
    return f"labels/{split}-00000.parquet"
