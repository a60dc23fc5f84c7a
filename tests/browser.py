"""A headless Chromium, driven over pipes by its own protocol: no driver and no further package are needed."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
# An answer takes milliseconds; whoever waits this long waits for nothing.
PATIENCE = 120


def find_browser():
    """Return the path of a browser, None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A page, what it complained about, and what it asked for."""

    def __init__(self, read, write):
        self._read, self._write, self._count, self._buffer = read, write, 0, b''
        self.complaints, self.requests, self._loaded = [], [], False
        target = self._send('Target.createTarget', url='about:blank')['targetId']
        self._session = self._send('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            self.send(f'{domain}.enable')

    def send(self, method, **parameters):
        """Call a method of the page and return its result."""
        return self._send(method, self._session, **parameters)

    def show(self, address, width, height, scheme):
        """Open an address on a screen of that size, in the colour scheme 'light' or 'dark'."""
        self.send('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value=scheme)])
        self._loaded = False
        self.send('Page.navigate', url=address)
        while not self._loaded:
            self._receive()
        # Pictures are decoded when they are first shown.
        self.evaluate('Promise.all([...document.images].map(image => image.decode()))')

    def evaluate(self, expression):
        """Return the value of an expression of JavaScript, once it is settled."""
        found = self.send('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in found:
            raise RuntimeError(f'{expression}: {found}')
        return found['result'].get('value')

    def _send(self, method, session=None, **parameters):
        self._count += 1
        message = dict(id=self._count, method=method, params=parameters, **({'sessionId': session} if session else {}))
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._count:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']

    def _receive(self):
        while b'\0' not in self._buffer:
            if not select.select([self._read], [], [], PATIENCE)[0]:
                raise RuntimeError(f'the browser has said nothing for {PATIENCE} seconds')
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError('the browser has ended')
            self._buffer += part
        message, self._buffer = self._buffer.split(b'\0', 1)
        message = json.loads(message)
        method, parameters = message.get('method'), message.get('params', {})
        if method == 'Network.requestWillBeSent':
            self.requests.append(parameters['request']['url'])
        elif method == 'Log.entryAdded':
            self.complaints.append(parameters['entry']['text'])
        elif method == 'Runtime.exceptionThrown':
            self.complaints.append(str(parameters['exceptionDetails']))
        elif method == 'Runtime.consoleAPICalled':
            self.complaints.append(str(parameters['args']))
        elif method == 'Page.loadEventFired':
            self._loaded = True
        return message


@contextlib.contextmanager
def open_browser(path):
    """Start a browser and yield a page; the browser ends with the block."""
    (their_input, our_output), (our_input, their_output) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # its processes may still write
        # The protocol wants descriptors 3 and 4, which the shell arranges; dash could not copy one of two digits.
        flags = [
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--disable-dev-shm-usage',
            '--no-first-run',
            '--disable-background-networking',
            '--hide-scrollbars',
            '--remote-debugging-pipe',
            f'--user-data-dir={profile}',
        ]
        command = ['bash', '-c', f'exec "$@" 3<&{their_input} 4>&{their_output}', 'bash', path, *flags]
        process = subprocess.Popen(
            command, pass_fds=(their_input, their_output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(their_input)
        os.close(their_output)
        try:
            yield Page(our_input, our_output)
        finally:
            os.close(our_output)
            os.close(our_input)
            process.terminate()
            process.wait()
