"""The pages: a file each; engine.py is what they share."""
