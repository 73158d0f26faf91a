"""The examples that the pages offer: what each claims, and where it is seen with these weights."""
