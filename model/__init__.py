"""Small Transformers, and one lens through which their attention is seen."""
