"""The web server: pages and the REST API. Knows nothing of matrices."""

__version__ = "0.4.0"
