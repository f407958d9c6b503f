"""Readers of files that users supply: NIfTI, NRRD, MetaImage, DICOM, PNG, JPEG, and landmark files."""
