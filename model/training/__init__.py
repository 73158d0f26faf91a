"""Training the bundled models from text, and measuring them."""
