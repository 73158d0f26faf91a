"""What pages compute about runs, and what the models do step by step."""
