"""Readers of files that users bring: NIfTI, NRRD, MetaImage, DICOM, pictures, and tables of landmarks."""
