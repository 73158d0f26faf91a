"""The pages, one file each; engine.py is shared by all."""
