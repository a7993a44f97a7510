"""Being here puts this folder on the import path: the references are imported as `import reference_vcm`."""
