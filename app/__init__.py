"""The web server: pages and the REST API. Knows nothing of matrices."""
