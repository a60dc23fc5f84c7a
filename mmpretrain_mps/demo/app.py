"""Addresses of the page, and what they answer."""

import json
from typing import Any

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, render_template, request, send_file
from werkzeug.exceptions import HTTPException

from ..datasets.folder_listing import PICTURE_ENDINGS
from ..utils.errors import user_message
from ..utils.methods import method_names, read_method
from .tabs import SUBSETS, Tabs, has_epochs

# The page may load nothing from elsewhere and send nothing there, whatever it holds.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    'Content-Security-Policy': POLICY,
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
}


_pages = Blueprint('pages', __name__)


def make_app(tabs: Tabs) -> Flask:
    """Make the application.

    Args:
        tabs (Tabs): Of this program.

    Returns:
        Flask: It answers requests from pages of its own alone.
    """
    app = Flask(__name__)
    # Names of this machine alone: else a page elsewhere could let its name mean 127.0.0.1.
    app.config.update(TRUSTED_HOSTS=['127.0.0.1', 'localhost'], MAX_FORM_PARTS=None)
    app.extensions['tabs'] = tabs
    app.before_request(_refuse_other_pages)
    app.after_request(_add_headers)
    app.register_error_handler(Exception, _explain)
    app.register_blueprint(_pages)
    return app


@_pages.get('/')
def _page():
    """The page, the same for all."""
    methods = [(name, read_method(name).method.label, has_epochs(name)) for name in method_names()]
    return render_template(
        'page.html', architecture=_tabs().clip['architecture'], methods=methods, default='mps', endings=' '.join(PICTURE_ENDINGS)
    )


@_pages.post('/tabs')
def _add():
    """Begin."""
    return jsonify(tab=_tabs().add()), 201


@_pages.post('/tabs/<word>/end')
def _end(word):
    """The tab is closed."""
    _tabs().end(word)
    return '', 204


@_pages.post('/tabs/<word>/tuning')
def _tune(word):
    """Start a training."""
    order = _order_of(request.form.get('order'))
    places = range(len(order['names']))
    uploads = {subset: [request.files.getlist(f'{subset}-{place}') for place in places] for subset in SUBSETS}
    with _tabs().use(word) as tab:
        tab.tune(order['names'], uploads, order['options'])
    return jsonify(running=True), 202


@_pages.get('/tabs/<word>/tuning')
def _progress(word):
    """How far it is."""
    with _tabs().use(word) as tab:
        return jsonify(tab.progress())


@_pages.delete('/tabs/<word>/tuning')
def _cancel(word):
    """End the training."""
    with _tabs().use(word) as tab:
        tab.cancel()
    return jsonify(running=False)


@_pages.post('/tabs/<word>/predictions')
def _classify(word):
    """Classify pictures."""
    uploads = request.files.getlist('pictures')  # read whole before anything is refused, or the answer would be lost
    with _tabs().use(word) as tab:
        return jsonify(tab.classify(uploads))


@_pages.get('/tabs/<word>/predictions.csv')
def _table(word):
    """The last predictions."""
    with _tabs().use(word) as tab:
        return Response(tab.table(), mimetype='text/csv', headers={'Content-Disposition': 'attachment; filename=predictions.csv'})


@_pages.get('/tabs/<word>/model.pth')
def _save(word):
    """The model."""
    with _tabs().use(word) as tab:
        return send_file(tab.model, 'application/octet-stream', True, 'model.pth') if tab.model.exists() else abort(404)


@_pages.post('/tabs/<word>/model.pth')
def _load(word):
    """Take a model."""
    if 'model' not in request.files:
        raise ValueError('there is no file')
    with _tabs().use(word) as tab:
        return jsonify(classes=tab.load(request.files['model']))


def _tabs():
    """Return the tabs of the program that answers."""
    return current_app.extensions['tabs']


def _refuse_other_pages():
    """Let no other page of the browser order anything here; following a link to the page is fine."""
    if request.path != '/' and request.headers.get('Sec-Fetch-Site', 'none') not in ('same-origin', 'none'):
        abort(403)


def _add_headers(response):
    response.headers.update(HEADERS)
    return response


def _order_of(text: Any) -> dict:
    """Read what is to be trained: ``names`` of classes, and ``options`` as in :meth:`Tab.tune`."""
    try:
        order = json.loads(text or '')
    except ValueError:
        order = None
    if not isinstance(order, dict) or not isinstance(order.get('names'), list) or not isinstance(order.get('options'), dict):
        raise ValueError('the order cannot be read; expected names and options as JSON')
    return order


def _explain(error):
    """Answer with one message; what this program does not understand is shown in the terminal, too."""
    if isinstance(error, HTTPException):
        return jsonify(error=error.description), error.code
    message = user_message(error)
    if message is None:
        raise error
    return jsonify(error=message), 400
