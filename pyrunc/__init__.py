"""pyrunc, an OCI container runtime: the version, nothing else."""

__version__ = "0.1.0"
