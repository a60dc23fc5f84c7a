"""Files that leave a mark if anything in them is run, in every form in which files run code."""

import http.server
import json
import os
import pickle
import threading
from contextlib import contextmanager
from functools import partial

import torch


class Marks:
    """Unpickling this makes a folder."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


class Writes(torch.nn.Module):
    """Reading this TorchScript writes a file: TorchScript may, and runs ``__setstate__`` when it is read."""

    def __init__(self, mark):
        super().__init__()
        self.mark = str(mark)

    @torch.jit.export
    def __getstate__(self):
        return self.mark

    @torch.jit.export
    def __setstate__(self, mark: str):
        self.mark = mark
        torch.save(torch.zeros(1), mark)

    def forward(self, x):
        return x


def pickles(folder, mark):
    """Write checkpoints that unpickle to a mark, in all forms that torch reads, and return them."""
    content = dict(state_dict=dict(weight=torch.zeros(1)), meta=dict(), extra=Marks(mark))
    torch.save(content, folder / 'zip.pth')
    torch.save(content, folder / 'legacy.pth', _use_new_zipfile_serialization=False)
    (folder / 'raw.pth').write_bytes(pickle.dumps(Marks(mark)))
    return [folder / name for name in ('zip.pth', 'legacy.pth', 'raw.pth')]


def torchscript(path, mark):
    """Write a TorchScript archive that writes a file when it is read."""
    torch.jit.save(torch.jit.script(Writes(mark)), str(path))
    if mark.exists():  # scripting does not run it, but let nobody depend on that
        mark.unlink()
    return path


def python(path, mark):
    """Write a module, or a config in Python, that leaves the mark."""
    path.write_text(f'import os\nos.mkdir({str(mark)!r})\n')
    return path


def plain_yaml(path, content):
    """Write YAML without help of a library that might not write what is asked for: JSON is YAML."""
    path.write_text(json.dumps(content))
    return path


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def serving(folder, handler=_Quiet):
    """Serve a folder by HTTP on this machine.

    Yields:
        str: Address of the folder.
    """
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_address[1]}'
    finally:
        server.shutdown()
        server.server_close()
