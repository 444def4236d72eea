"""File to Image to model input, and maps back to the image.

`read.read_image` reads a file or a DICOM folder exactly as stored, into an `image.Image`. `preprocess.Preprocess` is
the only way from there to what a method sees; `volume` brings a method's maps back to the image's grid and geometry.
Each format has its module (`raster`, `png`, `tiff`, `dicom`, `series`, `nifti`); `guards` holds the limits that all of
them keep against hostile files. Nothing is imported here, so that one format does not cost the libraries of another.
"""
