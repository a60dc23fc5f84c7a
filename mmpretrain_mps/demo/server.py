"""The program behind the page."""

import multiprocessing.forkserver
import os
import socket

import huggingface_hub.constants as hub

from ..apis import FewShotClassifier
from ..utils.quiet_log import quiet_log

HOST = '127.0.0.1'


class Server:
    """Answers the page on this machine, and on no other.

    Args:
        clip (dict): ``architecture`` and ``pretrained``. Weights that are missing are fetched now; later, nothing is.
        device (str): As in :class:`FewShotClassifier`.
        port (int, optional): To listen on. Defaults to one that is free.

    Raises:
        FileNotFoundError: If weights are missing, and cannot be fetched.
        ImportError: If Flask is missing.
        ValueError: If the port cannot be had.
    """

    def __init__(self, clip: dict, device: str = 'auto', port: int | None = None):
        try:
            from werkzeug.serving import WSGIRequestHandler, make_server

            from .app import make_app
        except ImportError as error:
            raise ImportError(
                f'the page needs the package flask, which cannot be imported ({error}); install it with '
                '`pip install "mmpretrain_mps[demo]"`, or `pip install -e ".[demo]"` in a checkout'
            ) from error
        from .tabs import Tabs

        # A page asks several times a second how far a training is.
        handler = type('QuietHandler', (WSGIRequestHandler,), dict(log_request=lambda self, *_: None))
        with _listen(port) as listening:
            with quiet_log():
                FewShotClassifier(**clip, method='zero_shot', device=device, verbose=0).fit(class_names=['one', 'two'])
            _go_offline()
            multiprocessing.forkserver.ensure_running()
            self._tabs = Tabs(clip, device)
            self._server = make_server(
                HOST,
                listening.getsockname()[1],
                make_app(self._tabs),
                threaded=True,
                request_handler=handler,
                fd=listening.fileno(),
            )

    @property
    def address(self) -> str:
        """str: What to open in a browser."""
        return f'http://{HOST}:{self._server.port}/'

    def run(self) -> None:
        """Answer until it is interrupted or closed."""
        try:
            self._server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            self._server.server_close()
            self._tabs.end_all()

    def close(self) -> None:
        """Let :meth:`run` return, which goes on in another thread."""
        self._server.shutdown()


def _listen(port):
    """Return a socket on this machine's own address."""
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f'port {port} is none, expected 1 to 65535; without one, a free one is taken')
    try:
        return socket.create_server((HOST, port or 0))
    except OSError as error:
        reason = os.strerror(error.errno)  # the error's own words repeat the address
        raise ValueError(f'port {port} cannot be had: {reason}. Name another one, or none: then a free one is taken') from None


def _go_offline():
    """Let nothing be fetched from here on, in this process and in those that it starts."""
    hub.HF_HUB_OFFLINE = True
    os.environ['HF_HUB_OFFLINE'] = '1'
