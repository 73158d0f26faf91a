"""Any Hugging Face model: opened, tried, and read through the same attention function."""
