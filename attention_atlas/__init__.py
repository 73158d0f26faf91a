"""Attention Atlas: see what every attention head of a Transformer does.

The server is `attention_atlas.app`, the models and what is computed about them are
`attention_atlas.model`. Importing this package loads neither.
"""

__version__ = "0.4.0"
