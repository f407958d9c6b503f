"""Readers of files that users supply: NIfTI, NRRD, MetaImage, DICOM, pictures, and tables of landmarks."""
