"""Learn: a course on attention. Chapters are Markdown files, a step's figure is a live run."""
