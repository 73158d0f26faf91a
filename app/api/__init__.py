"""The REST API under /api/v1: a file for each topic. The contract is docs/API.md."""
