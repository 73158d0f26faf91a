"""python -m attention_atlas.app, attention-atlas: serve on HOST and PORT."""

from __future__ import annotations

import logging
import os
import sys


def main() -> int:
    """Read the settings, load the models, serve until interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its threads spin otherwise
    from attention_atlas.app.access import JsonLines
    from attention_atlas.app.main import create_app
    from attention_atlas.app.memory import settle, share
    from attention_atlas.app.server import leave, served
    from attention_atlas.app.settings import Settings
    from pydantic_settings import CliApp

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = CliApp.run(Settings, cli_args=sys.argv[1:])
        if settings.log_format == "json":
            logging.getLogger().handlers[0].setFormatter(JsonLines())
        share()
        app = create_app(settings, settle)
    except ValueError as error:  # pydantic's ValidationError is one
        sys.stderr.write(f"attention-atlas: {error}\n")
        return 2
    leave(served(app, settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
