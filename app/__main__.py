"""python -m attention_atlas.app, attention-atlas: serve on HOST and PORT."""

from __future__ import annotations

import logging
import os
import socket
import sys


def main() -> int:
    """Read the settings, load the models, serve until interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its threads spin otherwise
    import uvicorn
    from attention_atlas.app.main import create_app
    from attention_atlas.app.settings import Settings
    from pydantic_settings import CliApp

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for server in self.servers:
                host, port = server.sockets[0].getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                logging.getLogger("app").info("Attention Atlas is ready: http://%s:%s", shown, port)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = CliApp.run(Settings, cli_args=sys.argv[1:])
        app = create_app(settings)
    except ValueError as error:  # pydantic's ValidationError is one
        sys.stderr.write(f"attention-atlas: {error}\n")
        return 2
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        http="h11",  # httptools answers an address over 64 kB itself, not with a problem of ours
        h11_max_incomplete_event_size=settings.max_body,
        server_header=False,
    )
    server = Server(config)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
