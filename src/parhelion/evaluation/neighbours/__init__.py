"""Which rows lie near which: memorisation, precision and recall, and kernels that find local excesses."""
